/* Truth: what a client in C did, as truth.py says for those in Python. */
#ifndef TRUTH_H
#define TRUTH_H

#include <stdint.h>

/* What is known of a call before it is made; the rest is as in truth.py. */
struct call {
	const char *operation;
	const char *vague;
	const char *status;	/* NULL: ok */
	const char *server_status;	/* NULL: the same */
	const char *attributes;	/* JSON; NULL: none */
	int opening;
};

/* A connection; a protocol's own begins with it. */
struct wire {
	int port;	/* this process' own */
};

/* What a protocol gives to run_clients. */
struct client {
	struct wire *(*connect)(void);
	void (*warm)(struct wire *);	/* a few calls whose answers it reads */
	void (*use)(struct wire *);	/* the known calls, each in the truth */
};

struct options {
	int port;
	int calls;
	const char *tls;	/* the certificate of the authority to trust; NULL: no TLS */
};

extern struct options options;

int64_t now(void);

/* A call ends now that began at `start`. */
void answered(const struct wire *wire, struct call call, int64_t start);

/* This process' own port on a socket. */
int port_of(int fd);

/* Ends the test, unless `holds`. */
void check(int holds, const char *what);

/* Text that lives until the process ends. */
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

int run_clients(int argc, char **argv, struct client client);

#endif
