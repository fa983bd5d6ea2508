/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.c: the command line of recon-diff, and what stands for several files. */
#include "recon/options.h"
#include "agent/base/opt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"Usage: recon-diff [OPTIONS] A B\n"
	"Compares the transactions that two vantage points saw: records (jsonl), event "
	"recordings,\n"
	"packet captures, Zeek http.log, Suricata EVE, HAR; also .gz and .zst of the text ones.\n"
	"A, B: a file, several joined by '+', a quoted pattern ('a.jsonl*'), - for standard input,\n"
	"or iface:NAME, packets from now on (files are read when that has ended).\n"
	"\n"
	"  -a, --a FILE          one more file of side A (repeatable; then A may be left out)\n"
	"  -b, --b FILE          one more file of side B\n"
	"      --name-a NAME     what to call side A (default: host, wire, client, or A)\n"
	"      --name-b NAME     what to call side B\n"
	"\n"
	"  -d, --duration TIME   of iface:NAME (default: until Ctrl-C)\n"
	"\n"
	"  -m, --map X=Y         ip:port X is ip:port Y seen elsewhere (a VIP, DNAT); repeatable\n"
	"      --host-ips LIST   addresses and networks with a probe, by commas; else as learned\n"
	"  -w, --window TIME     how far apart two views of one exchange can be (5s)\n"
	"      --guard TIME      cut from both ends of the common time (default: from the data)\n"
	"      --offset TIME     B's clock minus A's; negative too (default: estimated)\n"
	"      --tolerance TIME  of times, besides 5 % (1ms)\n"
	"      --strict          differences that are explained count, too\n"
	"      --strict-timing   times beyond the tolerance are differences\n"
	"\n"
	"  -j, --jsonl FILE      a line of JSON for each verdict\n"
	"  -s, --summary-json FILE\n"
	"      --junit FILE      for CI\n"
	"      --html FILE       a report with charts, one file that needs no other\n"
	"  -e, --explain ID      all about the record with this id (its first digits will do)\n"
	"  -n, --examples N      shown in the terminal (10)\n"
	"      --color WHEN      always, never, auto\n"
	"  -q, --quiet           no summary\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"TIME: 250us, 1ms, 2s, 1m, 1h. Exit: 0 agree, or every difference is explained;\n"
	"1 differences; 2 bad input or usage. docs/recon.md explains verdicts and reasons.\n";

enum {
	O_NAME_A = 256,
	O_NAME_B,
	O_HOST_IPS,
	O_GUARD,
	O_OFFSET,
	O_TOLERANCE,
	O_STRICT,
	O_STRICT_TIMING,
	O_JUNIT,
	O_HTML,
	O_COLOR
};

static const struct option longs[] = {
	{ "a", required_argument, NULL, 'a' },
	{ "b", required_argument, NULL, 'b' },
	{ "name-a", required_argument, NULL, O_NAME_A },
	{ "name-b", required_argument, NULL, O_NAME_B },
	{ "map", required_argument, NULL, 'm' },
	{ "host-ips", required_argument, NULL, O_HOST_IPS },
	{ "duration", required_argument, NULL, 'd' },
	{ "window", required_argument, NULL, 'w' },
	{ "guard", required_argument, NULL, O_GUARD },
	{ "offset", required_argument, NULL, O_OFFSET },
	{ "tolerance", required_argument, NULL, O_TOLERANCE },
	{ "strict", no_argument, NULL, O_STRICT },
	{ "strict-timing", no_argument, NULL, O_STRICT_TIMING },
	{ "jsonl", required_argument, NULL, 'j' },
	{ "summary-json", required_argument, NULL, 's' },
	{ "junit", required_argument, NULL, O_JUNIT },
	{ "html", required_argument, NULL, O_HTML },
	{ "explain", required_argument, NULL, 'e' },
	{ "examples", required_argument, NULL, 'n' },
	{ "color", required_argument, NULL, O_COLOR },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static int complain(const char *what, const char *value)
{
	fprintf(stderr, "recon-diff: %s: %s\n", what, value);
	return -EINVAL;
}

/* ---- files ---------------------------------------------------------------------------------- */

static int add_path(struct rc_conf *conf, int s, const char *path, size_t n)
{
	char **list = realloc(conf->path[s], (conf->path_n[s] + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	conf->path[s] = list;
	list[conf->path_n[s]] = strndup(path, n);
	if (!list[conf->path_n[s]])
		return -ENOMEM;
	conf->path_n[s]++;
	return 0;
}

/* A pattern that fits nothing is kept as a name: opening it says what is wrong. */
static int add_pattern(struct rc_conf *conf, int s, const char *pattern)
{
	glob_t found;
	int err = 0;

	if (!strpbrk(pattern, "*?[") || !access(pattern, F_OK))
		return add_path(conf, s, pattern, strlen(pattern));
	if (glob(pattern, GLOB_NOCHECK, NULL, &found))
		return -ENOMEM;
	for (size_t i = 0; i < found.gl_pathc && !err; i++)
		err = add_path(conf, s, found.gl_pathv[i], strlen(found.gl_pathv[i]));
	globfree(&found);
	return err;
}

/* A '+' that belongs to an existing file's name does not join. */
static int add_files(struct rc_conf *conf, int s, const char *spec)
{
	int err = 0;
	char *part;

	if (!*spec)
		return complain("empty file name", s ? "B" : "A");
	if (!strchr(spec, '+') || !access(spec, F_OK))
		return add_pattern(conf, s, spec);
	while (!err && *spec) {
		size_t n = strcspn(spec, "+");

		part = strndup(spec, n);
		if (!part)
			return -ENOMEM;
		err = n ? add_pattern(conf, s, part) : 0;
		free(part);
		spec += n + (spec[n] == '+');
	}
	return err;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool parse_ip(const char *p, size_t n, uint8_t out[16], bool *v4)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char tmp[64];

	if (!n || n >= sizeof(tmp))
		return false;
	memcpy(tmp, p, n);
	tmp[n] = 0;
	*v4 = inet_pton(AF_INET, tmp, out + 12) == 1;
	if (*v4)
		memcpy(out, mapped, sizeof(mapped));
	return *v4 || inet_pton(AF_INET6, tmp, out) == 1;
}

/* "10.0.0.1:80" or "[2001:db8::1]:80" */
static bool parse_endpoint(const char *p, size_t n, uint8_t ip[16], uint16_t *port)
{
	const char *colon = memrchr(p, ':', n);
	char tmp[8];
	uint64_t v;
	size_t host, k;
	bool v4;

	if (!colon)
		return false;
	host = (size_t)(colon - p);
	k = n - host - 1;
	if (!k || k >= sizeof(tmp))
		return false;
	memcpy(tmp, colon + 1, k);
	tmp[k] = 0;
	if (osp_parse_u64(tmp, &v) || v > UINT16_MAX)
		return false;
	*port = (uint16_t)v;
	if (host >= 2 && p[0] == '[' && p[host - 1] == ']') {
		p++;
		host -= 2;
	}
	return parse_ip(p, host, ip, &v4);
}

static int set_map(struct rc_conf *conf, const char *s)
{
	struct rc_map *map = &conf->map[conf->map_n];
	const char *eq = strchr(s, '=');

	if (conf->map_n == RC_MAPS_MAX)
		return complain("--map: too many", s);
	if (!eq || !parse_endpoint(s, (size_t)(eq - s), map->from, &map->from_port) ||
	    !parse_endpoint(eq + 1, strlen(eq + 1), map->to, &map->to_port))
		return complain("--map wants ip:port=ip:port", s);
	conf->map_n++;
	return 0;
}

static int set_host_ips(struct rc_conf *conf, const char *s)
{
	while (*s) {
		struct rc_cidr *net = &conf->host_ip[conf->host_ip_n];
		size_t n = strcspn(s, ","), ip = strcspn(s, ",/");
		uint64_t bits;
		char tmp[8];
		bool v4;

		if (conf->host_ip_n == RC_IPS_MAX)
			return complain("--host-ips: too many", s);
		if (!parse_ip(s, ip, net->addr, &v4))
			return complain("--host-ips: not an address", s);
		bits = v4 ? 32 : 128;
		if (ip < n) {
			if (n - ip - 1 >= sizeof(tmp))
				return complain("--host-ips: not a network", s);
			memcpy(tmp, s + ip + 1, n - ip - 1);
			tmp[n - ip - 1] = 0;
			if (osp_parse_u64(tmp, &bits) || bits > (v4 ? 32 : 128))
				return complain("--host-ips: not a network", s);
		}
		net->bits = (uint8_t)(bits + (v4 ? 96 : 0));
		conf->host_ip_n++;
		s += n + (s[n] == ',');
	}
	return 0;
}

static int set_time(const char *option, const char *s, bool sign, int64_t *out)
{
	bool minus = sign && *s == '-';
	uint64_t v;

	if (osp_parse_time(s + (minus || (sign && *s == '+')), &v) || v > INT64_MAX / 4)
		return complain(option, s);
	*out = minus ? -(int64_t)v : (int64_t)v;
	return 0;
}

static int set_color(struct rc_conf *conf, const char *s)
{
	if (!strcmp(s, "always"))
		conf->color = 1;
	else if (!strcmp(s, "never"))
		conf->color = 0;
	else if (strcmp(s, "auto"))
		return complain("--color is always, never or auto", s);
	return 0;
}

static int set_explain(struct rc_conf *conf, const char *s)
{
	size_t n = strlen(s);

	if (n < 4 || n > 32 || strspn(s, "0123456789abcdefABCDEF") != n)
		return complain("--explain wants the first 4 to 32 hex digits of a record's id", s);
	conf->explain = s;
	return 0;
}

static int set_time_option(struct rc_conf *conf, int o, const char *s)
{
	switch (o) {
	case 'd':
		return set_time("--duration", s, false, &conf->duration_ns);
	case 'w':
		return set_time("--window", s, false, &conf->window_ns);
	case O_GUARD:
		return set_time("--guard", s, false, &conf->guard_ns);
	case O_TOLERANCE:
		return set_time("--tolerance", s, false, &conf->tol_ns);
	}
	conf->has_offset = true;
	return set_time("--offset", s, true, &conf->offset_ns);
}

static int set(struct rc_conf *conf, int o, const char *s)
{
	uint64_t v;

	switch (o) {
	case 'a':
	case 'b':
		return add_files(conf, o == 'b', s);
	case 'm':
		return set_map(conf, s);
	case 'd':
	case 'w':
	case O_GUARD:
	case O_OFFSET:
	case O_TOLERANCE:
		return set_time_option(conf, o, s);
	case O_HOST_IPS:
		return set_host_ips(conf, s);
	case O_NAME_A:
		conf->name[0] = s;
		break;
	case O_NAME_B:
		conf->name[1] = s;
		break;
	case O_STRICT:
		conf->strict = true;
		break;
	case O_STRICT_TIMING:
		conf->strict_timing = true;
		break;
	case 'j':
		conf->jsonl = s;
		break;
	case 's':
		conf->summary_json = s;
		break;
	case O_JUNIT:
		conf->junit = s;
		break;
	case O_HTML:
		conf->html = s;
		break;
	case 'e':
		return set_explain(conf, s);
	case O_COLOR:
		return set_color(conf, s);
	case 'q':
		conf->quiet = true;
		break;
	case 'n':
		if (osp_parse_u64(s, &v) || v > RC_SAMPLES_MAX)
			return complain("--examples", s);
		conf->examples = (uint32_t)v;
		break;
	case 'h':
		fputs(help, stdout);
		return 1;
	case 'V':
		puts("recon-diff " OSP_VERSION);
		return 1;
	default:
		return -EINVAL;
	}
	return 0;
}

int rc_options(struct rc_conf *conf, int argc, char **argv)
{
	int o, err = 0;

	*conf = (struct rc_conf){ .window_ns = 5 * RC_NS_PER_S,
				  .guard_ns = -1,
				  .tol_ns = 1000000,
				  .tol_pct = 5,
				  .examples = 10,
				  .color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") };
	opterr = 0; /* one line, and ours */
	while (!err && (o = getopt_long(argc, argv, ":a:b:d:m:w:j:s:e:n:qhV", longs, NULL)) != -1) {
		err = set(conf, o, optarg);
		if (o == '?' || o == ':')
			complain(o == ':' ? "a value is missing (see --help)"
					  : "no such option (see --help)",
				 argv[optind - 1]);
	}
	for (; !err && optind < argc; optind++) {
		int s = !conf->path_n[0] ? 0 : !conf->path_n[1] ? 1 : -1;

		err = s < 0 ? complain("one A and one B only (join several by '+')", argv[optind])
			    : add_files(conf, s, argv[optind]);
	}
	if (!err && (!conf->path_n[0] || !conf->path_n[1]))
		err = complain("two inputs are needed", "recon-diff A B (--help)");
	return err;
}

void rc_options_fini(struct rc_conf *conf)
{
	for (int s = 0; s < 2; s++) {
		for (uint32_t i = 0; i < conf->path_n[s]; i++)
			free(conf->path[s][i]);
		free(conf->path[s]);
	}
}
