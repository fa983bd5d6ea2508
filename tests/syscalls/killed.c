/* SPDX-License-Identifier: GPL-3.0-or-later */
/* killed.c: SIGKILL in the middle of a blocking read, then in the middle of a blocking write. What
 * a write had taken before the signal counts; the server reads all of it and so knows.
 */
#include "common.h"

#define BODY (64u << 20)
#define ONE_CALL (16u << 20)

static struct msg asked;	/* the child makes the same one */
static char head[256];

static void in_read(void)
{
	char in[100];
	int fd = connect_lo();

	must(write(fd, head, asked.head));
	must(read(fd, in, sizeof(in)));
	die("read came back");
}

static void in_write(void)
{
	char *body = calloc(1, ONE_CALL);
	int fd = connect_lo();

	must(write(fd, head, asked.head));
	must(write(fd, body, ONE_CALL));
	die("write came back");
}

static void mirror(struct side *of, const struct side *s)
{
	memset(of, 0, offsetof(struct side, buf));
	of->client = true;
	of->lport = s->rport;
	of->rport = s->lport;
	memcpy(of->laddr, s->raddr, sizeof(of->laddr));
	memcpy(of->raddr, s->laddr, sizeof(of->raddr));
	of->end = s->end;
}

static void victim(int lfd, void (*fn)(void), const char *comm)
{
	static struct side cli;
	struct side *s;
	struct msg req;
	bool writing = fn == in_write;
	char *out;
	pid_t pid;
	int st;

	req_head(&asked, head, sizeof(head), writing, writing ? BODY : 0, 10);
	pid = spawn(fn, comm, 10);
	s = side_new(accept_on(lfd), false);
	s->end = "fin";
	if (!recv_head(s, &req))
		die("no request");
	wait_in_call(pid, writing ? SYS_write : SYS_read);
	must(kill(pid, SIGKILL));
	must(waitpid(pid, &st, 0));
	if (!WIFSIGNALED(st))
		die("the victim came back by itself");
	while (s->have = 0, recv_some(s, &(struct io){ tx_write, rx_read }))
		;
	mirror(&cli, s);
	cli.moved[TX] = s->moved[RX];
	if (cli.moved[TX] - asked.head > CAPTURE_CAP)
		gap(&cli, TX, cli.moved[TX] - asked.head - CAPTURE_CAP, "capture_cap",
		    "capture_cap");
	if (writing && cli.moved[TX] - asked.head >= ONE_CALL)
		die("the write did not block");
	asked.body = req.body = s->moved[RX] - asked.head;
	out = writing ? "closed" : "no_response";
	tell_txn_of(&cli, &asked, NULL, out, pid, comm);
	tell_txn(s, &req, NULL, out);
	tell_side_of(&cli, pid, comm);
	finish(s);
}

int main(int argc, char **argv)
{
	int lfd;

	begin(argc, argv, 15);
	lfd = listen_lo();
	victim(lfd, in_read, "killed-in-read");
	victim(lfd, in_write, "killed-in-write");
	return 0;
}
