/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_sink_files.c: values by their names, csv cells, names of rotated files, packing; jsonl and
 * csv on files that are cut, foreign or full.
 */
#include "sinks/builtin.h"
#include "sinks/compress.h"
#include "sinks/inst.h"
#include "sinks/options.h"
#include "sinks/pick.h"
#include "sinks/rotate.h"
#include "tests/lib/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static char tmp[] = "/tmp/osprey-test.XXXXXX";

static const char *at(const char *name)
{
	static char path[4][256];
	static int i;

	i = (i + 1) & 3;
	snprintf(path[i], sizeof(path[i]), "%s/%s", tmp, name);
	return path[i];
}

static void spit(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

/* The file's text; "" if there is none. */
static const char *slurp(const char *path)
{
	static char buf[4][65536];
	static int i;
	FILE *f = fopen(path, "r");
	size_t n;

	i = (i + 1) & 3;
	n = f ? fread(buf[i], 1, sizeof(buf[i]) - 1 , f) : 0;
	buf[i][n] = 0;
	if (f)
		fclose(f);
	return buf[i];
}

static void wipe(void)
{
	DIR *dir = opendir(tmp);
	struct dirent *ent;

	while (dir && (ent = readdir(dir)))
		unlinkat(dirfd(dir), ent->d_name, 0);
	if (dir)
		closedir(dir);
}

/* A record of this kind with every field there is. */
static struct osp_record everything(int kind, uint8_t decode)
{
	static const struct osp_rec_header header = { .name = { "N", 1 }, .value = { "v", 1 } };
	static const struct osp_rec_gap gap = { .at = 1, .bytes = 2, .cause = 1 };
	struct osp_record rec;

	memset(&rec, 0, sizeof(rec));
	rec.size = sizeof(rec);
	rec.kind = (uint8_t)kind;
	rec.seq = 7;
	rec.ts_ns = 1795206016123456789ll;
	rec.flags = OSP_RF_LOOPBACK | OSP_RF_GAP;
	rec.anomalies = OSP_RA_BARE_LF;
	rec.has_timing = 3;
	rec.conn = (struct osp_rec_conn){ .has = ~0u, .id = "1:x", .cookie = 1, .txn = 2, .role = 1,
					  .role_from = 1, .transport = IPPROTO_TCP, .netns = 3 };
	rec.proc.has = ~0u;
	for (int i = 0; i < OSP_S_MAX; i++)
		rec.str[i] = osp_slice_str("text");
	if (kind == OSP_REC_TRANSACTION) {
		for (int i = 0; i < OSP_ENDS; i++) {
			rec.msg[i].has = ~0u;
			rec.msg[i].interim_n = 1;
			rec.msg[i].header_n = 1;
			rec.msg[i].header = &header;
			/* Either is decoded or not. */
			rec.msg[i].decode = decode;
			rec.msg[i].coding_n = 1;
			rec.msg[i].coding[0] = OSP_CODING_GZIP;
		}
	} else {
		rec.connection = (struct osp_rec_connection){ .has_opened = 1, .has_closed = 1,
							       .has_rtt = 1, .has_bytes = 1 };
		for (int i = 0; i < 2; i++) {
			rec.connection.dir[i].gap_n = 1;
			rec.connection.dir[i].gap = &gap;
		}
	}
	return rec;
}

/* ---- names --------------------------------------------------------------------------------- */

static bool known(const char *name)
{
	for (const char *const *p = osp_pick_names; *p; p++)
		if (!strcmp(*p, name))
			return true;
	return false;
}

/* The paths of all values in our own JSON, one after the other, to fn. */
static const char *each_path(const char *p, char *path, size_t len, void (*fn)(const char *path))
{
	for (p++; *p && *p != '}'; p += *p == ',') {
		size_t n = strcspn(p + 1, "\""), to = len;
		int depth = 0;
		bool text = false;

		if (len)
			path[to++] = '.';
		memcpy(path + to, p + 1, n);
		path[to + n] = 0;
		p += n + 3;
		if (*p == '{') {
			p = each_path(p, path, to + n, fn);
			continue;
		}
		fn(path);
		for (; *p && (text || depth || (*p != ',' && *p != '}')); p++) {
			if (*p == '"')
				text = !text;
			depth += !text && *p == '[';
			depth -= !text && *p == ']';
			depth += !text && *p == '{';
			depth -= !text && *p == '}';
		}
	}
	return *p ? p + 1 : p;
}

static int unknown;

static void check_path(const char *path)
{
	if (known(path))
		return;
	unknown++;
	printf("#   record/json.c writes %s, sinks/pick.c does not know it\n", path);
}

static void test_names(void)
{
	struct osp_record rec[4] = { everything(OSP_REC_TRANSACTION, OSP_DEC_DONE),
				     everything(OSP_REC_TRANSACTION, OSP_DEC_BAD),
				     everything(OSP_REC_CONNECTION, 0),
				     everything(OSP_REC_CONNECTION, 0) };
	char json[4][8192], path[256], err[160];
	size_t n[4];
	int missing = 0;

	rec[3].conn.transport = OSP_TRANSPORT_UNIX;
	rec[3].conn.peer_cookie = 1;
	for (int i = 0; i < 4; i++) {
		n[i] = osp_record_json(&rec[i], json[i], sizeof(json[i]) - 1);
		json[i][n[i]] = 0;
		each_path(json[i], path, 0, check_path);
	}
	eq_int(unknown, 0, "every value of a record has a name");
	for (const char *const *p = osp_pick_names; *p; p++) {
		struct osp_pick *pick = NULL;
		struct osp_slice val[4];
		bool any = false;

		if (osp_pick_new(&pick, *p, err, sizeof(err)))
			continue;
		for (int i = 0; i < 4; i++)
			osp_pick_run(pick, json[i], n[i], &val[i]);
		for (int i = 0; i < 4; i++)
			any = any || val[i].p;
		if (!any && ++missing)
			printf("#   no record has %s\n", *p);
		osp_pick_free(pick);
	}
	eq_int(missing, 0, "every name has a value in some record");
}

static void refused(const char *names, const char *text)
{
	struct osp_pick *pick = NULL;
	char err[160] = "";

	ok(osp_pick_new(&pick, names, err, sizeof(err)) == -EINVAL && strstr(err, text) && !pick,
	   "\"%s\" is refused: %s", names, err);
	osp_pick_free(pick);
}

static void test_pick(void)
{
	static const char json[] = "{\"id\":\"a\\\"b\",\"seq\":5,\"flags\":[],\"conn\":{\"id\":\"1:x\","
				   "\"client\":{\"address\":\"::1\",\"port\":7}},\"unknown\":{\"id\":1},"
				   "\"anomalies\":[\"x\",\"y\\\"]\"],\"lost_bytes\":0}";
	static const char *const want[] = { "\"a\\\"b\"", "7", "[]", NULL, "\"1:x\"", "0",
					    "[\"x\",\"y\\\"]\"]" };
	struct osp_slice val[8];
	struct osp_pick *pick = NULL;
	char err[160];

	refused("", "no name");
	refused("id+", "no name");
	refused("id,nonsense", "nonsense");
	refused("status_code", "\"http.response.status_code\" is one");
	eq_int(osp_pick_new(&pick, "id+conn.client.port,flags conn.netns+conn.id+lost_bytes+anomalies",
			    err, sizeof(err)), 0, "'+', ',' and blanks join names");
	osp_pick_run(pick, json, sizeof(json) - 1, val);
	for (uint32_t i = 0; i < osp_pick_n(pick); i++)
		ok(want[i] ? val[i].n == strlen(want[i]) && !memcmp(val[i].p, want[i], val[i].n) :
			     !val[i].p, "%s", osp_pick_name(pick, i));
	/* Cut anywhere (in memory of just that size): nothing is read behind the end. */
	for (size_t n = 0; n < sizeof(json); n++) {
		char *part = malloc(n ? n : 1);

		memcpy(part, json, n);
		osp_pick_run(pick, part, n, val);
		free(part);
	}
	osp_pick_free(pick);
}

static void text_is(const char *json, const char *want, bool is_text)
{
	char buf[64], tight[64];
	bool text;
	size_t n = osp_pick_text(osp_slice(json, strlen(json)), buf, sizeof(buf), &text);

	ok(n == strlen(want) && !memcmp(buf, want, n) && text == is_text, "%s is %s", json, want);
	ok(!n || osp_pick_text(osp_slice(json, strlen(json)), tight, n - 1, NULL) == n,
	   "%s in too little room", json);
}

static void test_text(void)
{
	text_is("\"plain\"", "plain", true);
	text_is("\"a\\\"b\\\\c\\/\"", "a\"b\\c/", true);
	text_is("\"\\u00e9\\u0041\\u00ff\"", "\xc3\xa9" "A" "\xc3\xbf", true);
	text_is("\"l\\n\\r\\t\\b\\f\\u001b\\u007f\\u0000\"",
		"l\\u000a\\u000d\\u0009\\u0008\\u000c\\u001b\\u007f\\u0000", true);
	text_is("\"\"", "", true);
	text_is("12", "12", false);
	text_is("[]", "", false);
	text_is("[\"a\",\"b\"]", "a b", false);
	text_is("[100,103]", "[100,103]", false);
	text_is("[[\"N\",\"v\"]]", "[[\"N\",\"v\"]]", false);
	text_is("", "", false);
}

/* ---- sinks on files ------------------------------------------------------------------------ */

struct opened {
	const struct osp_sink_ops *ops;
	struct osp_sink *sink;
	void *conf;
	char text[512], err[256];
	int ret;
};

static bool begin(struct opened *o, const struct osp_sink_ops *ops, const char *options)
{
	struct osp_opt_set set = { ops->opts, NULL };

	memset(o, 0, sizeof(*o));
	o->ops = ops;
	o->conf = calloc(1, ops->conf_size);
	set.conf = o->conf;
	snprintf(o->text, sizeof(o->text), "%s", options);
	o->ret = osp_opts_parse(&set, 1, o->text, o->err, sizeof(o->err));
	if (!o->ret)
		o->ret = ops->open(&osp_sink_host, o->conf, &o->sink, o->err, sizeof(o->err));
	return !o->ret;
}

static int put(struct opened *o, struct osp_record *rec, uint32_t n)
{
	const struct osp_record *view[64];
	struct osp_batch batch = { view, n };
	uint32_t done = 0;
	int err;

	for (uint32_t i = 0; i < n; i++)
		view[i] = &rec[i];
	err = o->ops->write(o->sink, &batch, &done);
	return err ? err : (int)done;
}

static void end(struct opened *o)
{
	if (o->sink)
		o->ops->close(o->sink);
	free(o->conf);
}

static void row_is(const char *target, const char *options, const char *want)
{
	struct osp_record rec = everything(OSP_REC_TRANSACTION, OSP_DEC_DONE);
	char spec[256], name[160];
	struct opened o;

	rec.str[OSP_S_TARGET] = osp_slice_str(target);
	snprintf(spec, sizeof(spec), "path=%s,header=no,eol=lf,columns=http.request.target+seq%s",
		 at("row"), options);
	unlink(at("row"));
	begin(&o, &osp_sink_csv, spec);
	put(&o, &rec, 1);
	end(&o);
	snprintf(name, sizeof(name), "csv: %s%s", target, options);
	for (char *p = name; *p; p++)
		if (*p < ' ' || *p == '#')
			*p = '?';
	eq_str(slurp(at("row")), want, "%s", name);
}

static void test_cells(void)
{
	row_is("/a", "", "/a,7\n");
	row_is("/a,b", "", "\"/a,b\",7\n");
	row_is("say \"x\"", "", "\"say \"\"x\"\"\",7\n");
	row_is("\"", "", "\"\"\"\",7\n");
	row_is(" lead", "", "\" lead\",7\n");
	row_is("a\r\nb,c", "", "\"a\\u000d\\u000ab,c\",7\n");
	row_is("=1+1", "", "'=1+1,7\n");
	row_is("@x,y", "", "\"'@x,y\",7\n");
	row_is("-2", "", "'-2,7\n");
	row_is("+a", ",guard=no", "+a,7\n");
	row_is("\t=x", "", "\\u0009=x,7\n");
	row_is("", "", ",7\n");
}

static void test_csv_files(void)
{
	struct osp_record rec = everything(OSP_REC_TRANSACTION, OSP_DEC_DONE);
	char spec[256];
	struct opened o;

	snprintf(spec, sizeof(spec), "path=%s,columns=seq+id", at("c"));
	begin(&o, &osp_sink_csv, spec);
	eq_str(slurp(at("c")), "", "csv: no row, no header either");
	put(&o, &rec, 1);
	end(&o);
	eq_str(slurp(at("c")), "seq,id\r\n7,00000000000000000000000000000000\r\n", "csv: CRLF, header");
	begin(&o, &osp_sink_csv, spec);
	put(&o, &rec, 1);
	end(&o);
	eq_str(slurp(at("c")), "seq,id\r\n7,00000000000000000000000000000000\r\n"
	       "7,00000000000000000000000000000000\r\n", "csv: added to, one header");
	spit(at("c"), "seq,id\r\n7,0000\r\n8,00");
	end((begin(&o, &osp_sink_csv, spec), &o));
	eq_str(slurp(at("c")), "seq,id\r\n7,0000\r\n", "csv: a cut last row goes");
	spit(at("c"), "seq,i");
	end((begin(&o, &osp_sink_csv, spec), &o));
	eq_str(slurp(at("c")), "", "csv: so does a cut header");
	spit(at("c"), "other,things\r\n1,2");
	ok(!begin(&o, &osp_sink_csv, spec) && strstr(o.err, "other columns"),
	   "csv: other columns: %s", o.err);
	end(&o);
	ok(strstr(slurp(at("c")), "other,things\r\n1,2"), "csv: and nothing of it is cut");
	ok(!begin(&o, &osp_sink_csv, "columns=seq+nope") && strstr(o.err, "nope"), "%s", o.err);
	end(&o);
}

static void bad(const char *options, const char *text)
{
	struct opened o;

	ok(!begin(&o, &osp_sink_jsonl, options) && o.ret == -EINVAL && strstr(o.err, text),
	   "jsonl:%s: %s", options, o.err);
	end(&o);
}

static void test_conf(void)
{
	char spec[256];

	bad("rotate=1M", "stdout");
	bad("path=/dev/null,rotate=1M", "regular");
	snprintf(spec, sizeof(spec), "path=%s,keep=3", at("j"));
	bad(spec, "keep");
	snprintf(spec, sizeof(spec), "path=%s,compress=gzip", at("j"));
	bad(spec, "compress");
	snprintf(spec, sizeof(spec), "path=%s,rotate=1M,compress=lzma", at("j"));
	bad(spec, "none|gzip|zstd");
}

/* ---- rotation ------------------------------------------------------------------------------ */

/* 2026-11-21T09:03:11Z */
#define NOW 1795251791000000000ull

static void touch(const char *name)
{
	spit(at(name), name);
}

static void test_names_of_rotated(void)
{
	struct osp_rotated *list;
	size_t n;

	wipe();
	touch("a");
	eq_int(osp_rotate_aside(at("a"), NOW), 0, "set aside");
	eq_str(slurp(at("a.20261121-090311.0")), "a", "its name");
	ok(access(at("a"), F_OK), "the old name is free");
	touch("a");
	osp_rotate_aside(at("a"), NOW);
	ok(!access(at("a.20261121-090311.1"), F_OK), "a second one in the same second");
	/* The first is packed, the second removed: their names must not come again. */
	rename(at("a.20261121-090311.1"), at("a.20261121-090311.1.zst"));
	unlink(at("a.20261121-090311.0"));
	touch("a");
	osp_rotate_aside(at("a"), NOW);
	ok(!access(at("a.20261121-090311.2"), F_OK) && access(at("a.20261121-090311.0"), F_OK),
	   "names that are free again are not used again");
	touch("a");
	osp_rotate_aside(at("a"), NOW - 5000000000ull);
	ok(!access(at("a.20261121-090311.3"), F_OK), "a clock that goes back does not mix the order");
	touch("a");
	osp_rotate_aside(at("a"), NOW + 1000000000ull);
	ok(!access(at("a.20261121-090312.0"), F_OK), "the next second");
	touch("a.20261121-090312.10.gz");
	touch("a.20261121-090312.9");
	/* Not ours. */
	touch("a.20261121-090312");
	touch("a.20261121-090312.x");
	touch("a.20261121-090312.1.gz.part");
	touch("ab.20261121-090312.1");
	touch("a.2026112-1090312.1");
	eq_int(osp_rotate_list(at("a"), &list, &n), 0, "list");
	eq_int(n, 6, "ours are told from others");
	ok(n == 6 && strstr(list[4].path, ".9") && strstr(list[5].path, ".10.gz") && list[5].packed,
	   "in order, by number");
	osp_rotate_list_free(list, n);
	eq_int(osp_rotate_aside(at("none"), NOW), -ENOENT, "nothing to set aside");
	eq_int(osp_rotate_list("/nonexistent/a", &list, &n), -ENOENT, "no such folder");
}

static void test_tidy(void)
{
	struct osp_rotated *list;
	size_t n;

	/* A file and its packed twin count once. */
	touch("a.20261121-090312.10");
	eq_int(osp_rotate_tidy(at("a"), 2), 0, "tidy");
	osp_rotate_list(at("a"), &list, &n);
	ok(n == 3 && strstr(list[0].path, "312.9"), "the last two stay, one of them twice");
	osp_rotate_list_free(list, n);
	ok(!access(at("a.20261121-090312.x"), F_OK) && !access(at("ab.20261121-090312.1"), F_OK),
	   "what is not ours stays");
}

static size_t unpack(enum osp_pack how, const char *in, size_t in_n, char *out, size_t size)
{
	z_stream z = { .next_in = (unsigned char *)in, .avail_in = (unsigned int)in_n,
		       .next_out = (unsigned char *)out, .avail_out = (unsigned int)size };
	size_t n;

	if (how == OSP_PACK_ZSTD) {
		n = ZSTD_decompress(out, size, in, in_n);
		return ZSTD_isError(n) ? 0 : n;
	}
	inflateInit2(&z, 15 + 16);
	n = inflate(&z, Z_FINISH) == Z_STREAM_END ? z.total_out : 0;
	inflateEnd(&z);
	return n;
}

static void test_pack(void)
{
	static char text[600000], back[700000], packed[700000];
	const _Atomic _Bool stop = true;
	int in, out;
	size_t n;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i * i % 23);
	in = open(at("in"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	n = (size_t)write(in, text, sizeof(text));
	for (enum osp_pack how = OSP_PACK_GZIP; how <= OSP_PACK_ZSTD; how++) {
		lseek(in, 0, SEEK_SET);
		out = open(at("out"), O_RDWR | O_CREAT | O_TRUNC, 0600);
		eq_int(osp_pack_fd(how, in, out, NULL), 0, "pack %d", how);
		n = (size_t)pread(out, packed, sizeof(packed), 0);
		ok(n < sizeof(text) / 2 && unpack(how, packed, n, back, sizeof(back)) == sizeof(text) &&
		   !memcmp(back, text, sizeof(text)), "it comes back from %zu bytes", n);
		lseek(in, 0, SEEK_SET);
		eq_int(osp_pack_fd(how, in, out, &stop), -ECANCELED, "stopped");
		close(out);
		out = open("/dev/full", O_WRONLY);
		lseek(in, 0, SEEK_SET);
		eq_int(osp_pack_fd(how, in, out, NULL), -ENOSPC, "no room");
		close(out);
	}
	close(in);
}

static void test_rotation(void)
{
	struct osp_record rec[64];
	struct osp_rotated *list;
	char spec[256];
	struct stat st;
	struct opened o;
	const char *text;
	size_t n;
	bool small = true;

	wipe();
	for (int i = 0; i < 64; i++) {
		rec[i] = everything(OSP_REC_TRANSACTION, OSP_DEC_DONE);
		rec[i].seq = (uint64_t)i + 1;
	}
	snprintf(spec, sizeof(spec), "path=%s,rotate=8K,keep=4", at("r"));
	begin(&o, &osp_sink_jsonl, spec);
	eq_int(put(&o, rec, 64), 64, "64 records in one batch over several files");
	end(&o);
	osp_rotate_list(at("r"), &list, &n);
	for (size_t i = 0; i < n; i++)
		small = small && !stat(list[i].path, &st) && st.st_size <= 8192 && st.st_size > 6000;
	ok(n == 4 && small, "keep=4, none longer than 8K");
	osp_rotate_list_free(list, n);
	wipe();
	/* Each record is longer than a file may be: one a file, none empty. */
	snprintf(spec, sizeof(spec), "path=%s,rotate=100", at("r"));
	begin(&o, &osp_sink_jsonl, spec);
	eq_int(put(&o, rec, 5), 5, "records longer than a file may be");
	end(&o);
	osp_rotate_list(at("r"), &list, &n);
	text = n == 4 ? slurp(list[0].path) : "";
	ok(strchr(text, '\n') && !strchr(text, '\n')[1] &&
	   strstr(slurp(list[3].path), "\"seq\":4,"), "one a file");
	osp_rotate_list_free(list, n);
	/* Somebody else has moved the file: theirs is not renamed. */
	wipe();
	begin(&o, &osp_sink_jsonl, spec);
	put(&o, rec, 1);
	rename(at("r"), at("theirs"));
	spit(at("r"), "somebody else's\n");
	put(&o, rec + 1, 1);
	osp_rotate_list(at("r"), &list, &n);
	ok(!n && !strncmp(slurp(at("r")), "somebody else's\n{\"schema\"", 20), "moved by another hand");
	osp_rotate_list_free(list, n);
	end(&o);
}

int main(void)
{
	if (!mkdtemp(tmp))
		return 1;
	test_names();
	test_pick();
	test_text();
	test_cells();
	test_csv_files();
	test_conf();
	test_names_of_rotated();
	test_tidy();
	test_pack();
	test_rotation();
	wipe();
	rmdir(tmp);
	return done();
}
