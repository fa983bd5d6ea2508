/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conf_help.c: the table of settings for people: --help, osprey-agent(8), completion for bash. */
#include "agent/conf.h"
#include "agent/conf_rows.h"

#include <stdio.h>
#include <string.h>

#define WHAT "HTTP transactions of this host's processes, as the kernel sees them"

static void help_row(const struct row *row)
{
	char left[64];
	const char *line = row->help, *end;
	int n;

	if (row->kind == HEADING) {
		printf("\n%s\n", row->name);
		return;
	}
	n = row->letter ? snprintf(left, sizeof(left), "-%c, ", row->letter) :
			  snprintf(left, sizeof(left), "    ");
	snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s%s", row->name,
		 !row->arg ? "" : row->kind == SYNTH ? "[=" : " ", row->arg ? row->arg : "",
		 row->kind == SYNTH ? "]" : "");
	printf("  %-32s ", left);
	if (strlen(left) > 32)
		printf("\n%35s", "");
	for (; (end = strchr(line, '\n')); line = end + 1)
		printf("%.*s\n%35s", (int)(end - line), line, "");
	puts(line);
}

void osp_conf_help(void)
{
	size_t n;
	const struct row *row = osp_conf_rows(&n);

	puts("osprey-agent: " WHAT "\n\n"
	     "  osprey-agent [OPTION]...          capture until SIGINT or SIGTERM\n"
	     "  osprey-agent check-layout [-v]    whether this kernel is as we assume");
	for (size_t i = 0; i < n; i++)
		if (row[i].kind == HEADING || row[i].help)
			help_row(&row[i]);
	puts("\nExit status: 0 done, 1 failed, 2 usage, 77 lacks privilege, 78 configuration.");
}

/* ---- osprey-agent(8) ----------------------------------------------------------------------- */

/* Text as roff takes it; new lines become spaces. See groff(7), escapes. */
static void roff(const char *s)
{
	for (; *s; s++) {
		if (*s == '-')
			fputs("\\-", stdout);
		else if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '\'')
			fputs("\\(aq", stdout);
		else
			putchar(*s == '\n' ? ' ' : *s);
	}
}

/* A line of its own that must not be taken for a request. */
static void roff_line(const char *s)
{
	if (*s == '.')
		fputs("\\&", stdout);
	roff(s);
	putchar('\n');
}

static void man_row(const struct row *row)
{
	if (row->kind == HEADING) {
		char title[96];
		size_t n = (size_t)snprintf(title, sizeof(title), "%s", row->name);

		if (n < sizeof(title) && title[n - 1] == ':')
			title[n - 1] = 0;
		fputs(".SS \"", stdout);
		roff(title);
		puts("\"");
		return;
	}
	puts(".TP");
	if (row->letter)
		printf("\\fB\\-%c\\fR, ", row->letter);
	fputs("\\fB\\-\\-", stdout);
	roff(row->name);
	fputs("\\fR", stdout);
	if (row->arg) {
		fputs(row->kind == SYNTH ? "[=\\fI" : " \\fI", stdout);
		roff(row->arg);
		fputs(row->kind == SYNTH ? "\\fR]" : "\\fR", stdout);
	}
	putchar('\n');
	roff_line(row->help);
}

static void man_file(const struct row *row, size_t n)
{
	bool first = true;

	puts(".SH CONFIGURATION FILE\n"
	     "Lines \\fIoption\\fR = \\fIvalue\\fR, options as above without dashes; those without "
	     "an argument take yes or no. # begins a comment. The command line goes before the "
	     "file. Not in the file:");
	for (size_t i = 0; i < n; i++) {
		if (row[i].kind == HEADING || row[i].where != LINE_ONLY || !row[i].help)
			continue;
		fputs(first ? "" : ", ", stdout);
		roff(row[i].name);
		first = false;
	}
	puts(".");
}

static void man_rest(void)
{
	puts(".SH SIGNALS\n.TP\nSIGINT, SIGTERM\n"
	     "Detaches, takes what is under way, lets sinks finish, prints the ledger.\n"
	     ".TP\nSIGHUP\n"
	     "Reads the configuration file again: filters, ledger\\-interval and stop\\-timeout "
	     "change at once, other changes are named in a warning. Sinks open their files anew.\n"
	     ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed\n.TP\n2\nusage\n"
	     ".TP\n77\nlacks a privilege\n.TP\n78\nthe configuration is at fault\n"
	     ".SH EXAMPLES\n.nf\n"
	     "osprey\\-agent \\-\\-port 80 \\-\\-port 443\n"
	     "osprey\\-agent \\-\\-sink jsonl:path=/var/log/osprey/osprey.jsonl "
	     "\\-\\-metrics 127.0.0.1:9464\n"
	     "osprey\\-agent \\-\\-config /etc/osprey/agent.conf \\-\\-check\\-config\n"
	     "osprey\\-agent \\-\\-synthetic=txns=20 \\-\\-sink console\n.fi");
}

void osp_conf_man(void)
{
	size_t n;
	const struct row *row = osp_conf_rows(&n);

	puts(".\\\" Made from the table of options; see osprey-agent --help-man.\n"
	     ".TH OSPREY\\-AGENT 8 \"\" \"Osprey " OSP_VERSION "\"\n"
	     ".SH NAME\nosprey\\-agent \\- " WHAT "\n"
	     ".SH SYNOPSIS\n.B osprey\\-agent\n[\\fIOPTION\\fR]...\n.br\n"
	     ".B osprey\\-agent check\\-layout\n[\\fB\\-v\\fR]\n"
	     ".SH DESCRIPTION\n"
	     "Watches the socket calls of processes in the kernel, rebuilds each connection\\(aqs "
	     "streams, pairs requests with responses and hands records to sinks. Every event, byte "
	     "and record is accounted for; the ledger printed at the end says how.\n.PP\n"
	     "Needs root, or the capabilities CAP_BPF and CAP_PERFMON. \\fBcheck\\-layout\\fR says "
	     "whether this kernel is as the kernel programs assume.\n"
	     ".SH OPTIONS");
	for (size_t i = 0; i < n; i++)
		if (row[i].kind == HEADING || row[i].help)
			man_row(&row[i]);
	man_file(row, n);
	man_rest();
}

/* ---- completion ---------------------------------------------------------------------------- */

/* What completes an option's argument, as arguments of compgen; NULL: nothing known. */
static const char *completes(const struct row *row, char *buf, size_t size)
{
	if (!row->arg || row->kind == SINK)
		return NULL;
	if (!strcmp(row->arg, "FILE") || !strncmp(row->arg, "PATH", 4))
		return "-f";
	/* "a|b|c" of plain words. */
	if (!strchr(row->arg, '|') ||
	    row->arg[strspn(row->arg, "abcdefghijklmnopqrstuvwxyz|")])
		return NULL;
	snprintf(buf, size, "-W '%s'", row->arg);
	for (char *p = buf; *p; p++)
		*p = *p == '|' ? ' ' : *p;
	return buf;
}

static void bash_cases(const struct row *row, size_t n)
{
	char buf[128];

	for (size_t i = 0; i < n; i++) {
		const char *how = row[i].kind == HEADING ? NULL :
				  completes(&row[i], buf, sizeof(buf));

		if (!how)
			continue;
		if (row[i].letter)
			printf("\t-%c|", row[i].letter);
		else
			putchar('\t');
		printf("--%s) mapfile -t COMPREPLY < <(compgen %s -- \"$cur\"); return ;;\n",
		       row[i].name, how);
	}
	puts("\t--sink) mapfile -t COMPREPLY < <(compgen -W 'console csv jsonl kafka null' -- "
	     "\"$cur\")\n"
	     "\t\t[ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	     "\t\treturn ;;");
}

/* Without the functions of the bash-completion package: it need not be there. */
void osp_conf_bash(void)
{
	size_t n;
	const struct row *row = osp_conf_rows(&n);

	puts("# bash completion for osprey-agent, made from its table of options\n"
	     "# shellcheck shell=bash\n"
	     "_osprey_agent()\n{\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n\n"
	     "\t# \"=\" is a word of its own: --option=value comes as three\n"
	     "\t[ \"$cur\" != = ] || cur=\n"
	     "\t[ \"$prev\" != = ] || prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
	     "\tcase $prev in");
	bash_cases(row, n);
	fputs("\tesac\n\tmapfile -t COMPREPLY < <(compgen -W 'check-layout", stdout);
	for (size_t i = 0; i < n; i++)
		if (row[i].kind != HEADING && row[i].help)
			printf(" --%s", row[i].name);
	puts("' -- \"$cur\")\n}\ncomplete -o filenames -F _osprey_agent osprey-agent");
}
