/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mock_cluster.c: librdkafka's mock cluster as a process: prints its brokers, then serves until its
 * standard output is closed or it is told to end. For machines without a real broker.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	char err[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
	rd_kafka_mock_cluster_t *mock = rk ? rd_kafka_mock_cluster_new(rk, 1) : NULL;
	sigset_t set;
	int sig;

	if (!mock) {
		fprintf(stderr, "mock_cluster: %s\n", rk ? "no cluster" : err);
		return 1;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	puts(rd_kafka_mock_cluster_bootstraps(mock));
	fflush(stdout);
	sigwait(&set, &sig);
	rd_kafka_mock_cluster_destroy(mock);
	rd_kafka_destroy(rk);
	return 0;
}
