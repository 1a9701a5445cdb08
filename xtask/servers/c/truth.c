#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "truth.h"

#define CONNECTIONS_MAX 64

struct options options = { .calls = 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *truth;
static int old[CONNECTIONS_MAX], old_count;

int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int is_old(int port)
{
	for (int i = 0; i < old_count; i++)
		if (old[i] == port)
			return 1;
	return 0;
}

void answered(const struct wire *wire, struct call call, int64_t start)
{
	int64_t end = now();
	const char *status = call.status ? call.status : "ok";

	pthread_mutex_lock(&lock);
	fprintf(truth, "{\"connection\": %d, \"operation\": \"%s\", \"status\": \"%s\", ", wire->port,
		call.operation, status);
	fprintf(truth, "\"server_status\": \"%s\", ", call.server_status ? call.server_status : status);
	if (call.vague)
		fprintf(truth, "\"vague\": \"%s\", ", call.vague);
	fprintf(truth, "\"attributes\": %s, ", call.attributes ? call.attributes : "{}");
	fprintf(truth, "\"start\": %lld, \"end\": %lld, ", (long long)start, (long long)end);
	fprintf(truth, "\"opening\": %s, \"old\": %s}\n", call.opening ? "true" : "false",
		is_old(wire->port) ? "true" : "false");
	pthread_mutex_unlock(&lock);
}

int port_of(int fd)
{
	struct sockaddr_in address = { 0 };
	socklen_t len = sizeof(address);

	check(getsockname(fd, (struct sockaddr *)&address, &len) == 0, "a socket without an address");
	return ntohs(address.sin_port);
}

void check(int holds, const char *what)
{
	if (holds)
		return;
	printf("failed %s\n", what);
	fflush(stdout);
	_exit(1);
}

char *text(const char *format, ...)
{
	char *made = NULL;
	va_list rest;

	va_start(rest, format);
	check(vasprintf(&made, format, rest) >= 0, "no memory");
	va_end(rest);
	return made;
}

struct work {
	void (*use)(struct wire *);
	struct wire *wire;
};

static void *work(void *of)
{
	struct work *work = of;

	work->use(work->wire);
	return NULL;
}

int run_clients(int argc, char **argv, struct client client)
{
	struct work all[CONNECTIONS_MAX];
	pthread_t threads[CONNECTIONS_MAX];
	const char *file = "/dev/null";
	char line[16];
	int connections = 4, at = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--port"))
			options.port = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--calls"))
			options.calls = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--connections"))
			connections = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--truth"))
			file = argv[i + 1];
		else if (!strcmp(argv[i], "--tls"))
			options.tls = argv[i + 1];
	}
	check(connections <= CONNECTIONS_MAX, "too many connections");
	truth = fopen("/dev/null", "w");
	check(truth != NULL, "nowhere to write");
	for (; at < connections / 2; at++) {
		all[at] = (struct work){ client.use, client.connect() };
		client.warm(all[at].wire);
		old[old_count++] = all[at].wire->port;
	}
	/* What was said until now is older than the agent. */
	truth = freopen(file, "w", truth);
	check(truth != NULL, "the truth cannot be written");
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin) || strcmp(line, "go\n"))
		return 1;
	for (; at < connections; at++)
		all[at] = (struct work){ client.use, client.connect() };
	for (int i = 0; i < connections; i++)
		check(!pthread_create(&threads[i], NULL, work, &all[i]), "no thread");
	for (int i = 0; i < connections; i++)
		pthread_join(threads[i], NULL);
	fclose(truth);
	puts("done");
	fflush(stdout);
	/* The connections stay open until the test has read the spans. */
	while (fgets(line, sizeof(line), stdin))
		;
	_exit(0);
}
