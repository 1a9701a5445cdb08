/* Redis: as redis_client.py. hiredis writes commands and reads replies; Debian's has no TLS, so OpenSSL
 * stands beneath. */
#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

struct line {
	struct wire wire;
	int fd;
	SSL *tls;	/* NULL: none */
	redisReader *replies;
};

static struct wire *connect_redis(void)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(options.port) };
	struct line *line = calloc(1, sizeof(*line));

	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	line->fd = socket(AF_INET, SOCK_STREAM, 0);
	check(!connect(line->fd, (struct sockaddr *)&server, sizeof(server)), "no connection");
	line->wire.port = port_of(line->fd);
	line->replies = redisReaderCreate();
	if (options.tls) {
		SSL_CTX *context = SSL_CTX_new(TLS_client_method());

		check(SSL_CTX_load_verify_locations(context, options.tls, NULL), "no certificate");
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
		line->tls = SSL_new(context);
		SSL_set_fd(line->tls, line->fd);
		check(SSL_connect(line->tls) == 1, "no hand-shake");
	}
	return &line->wire;
}

static void say(struct line *line, const char *bytes, int len)
{
	int sent = line->tls ? SSL_write(line->tls, bytes, len) : (int)write(line->fd, bytes, len);

	check(sent == len, "not all was sent");
}

static redisReply *hear(struct line *line)
{
	char bytes[16384];
	void *reply = NULL;

	for (;;) {
		int len;

		check(redisReaderGetReply(line->replies, &reply) == REDIS_OK, line->replies->errstr);
		if (reply)
			return reply;
		len = line->tls ? SSL_read(line->tls, bytes, sizeof(bytes))
				: (int)read(line->fd, bytes, sizeof(bytes));
		check(len > 0, "the server closed the connection");
		redisReaderFeed(line->replies, bytes, len);
	}
}

static redisReply *ask(struct line *line, const char *format, ...)
{
	char *command = NULL;
	va_list rest;
	int len;

	va_start(rest, format);
	len = redisvFormatCommand(&command, format, rest);
	va_end(rest);
	say(line, command, len);
	redisFreeCommand(command);
	return hear(line);
}

static void free_reply(redisReply *reply, int type)
{
	check(reply->type == type, "another reply");
	freeReplyObject(reply);
}

static void warm(struct wire *wire)
{
	struct line *line = (struct line *)wire;

	free_reply(ask(line, "SET warm 1"), REDIS_REPLY_STATUS);
}

/* Several commands in one write; the answers are read one by one. */
static void pipeline(struct line *line, const char *key)
{
	static const char *const commands[] = { "GET", "EXISTS", "INCR", "DEL" };
	static const int types[] = { REDIS_REPLY_STRING, REDIS_REPLY_INTEGER, REDIS_REPLY_ERROR,
				     REDIS_REPLY_INTEGER };
	char *all = "";
	int64_t start;

	for (int i = 0; i < 4; i++) {
		char *command = NULL;

		redisFormatCommand(&command, "%s %s", commands[i], key);
		all = text("%s%s", all, command);
		redisFreeCommand(command);
	}
	start = now();
	say(line, all, strlen(all));
	for (int i = 0; i < 4; i++) {
		struct call call = { .operation = commands[i] };
		redisReply *reply = hear(line);

		if (types[i] == REDIS_REPLY_ERROR)
			call.status = "error";
		answered(&line->wire, call, start);
		free_reply(reply, types[i]);
	}
}

static void use(struct wire *wire)
{
	struct line *line = (struct line *)wire;

	for (int number = 0; number < options.calls; number++) {
		struct call set = { .operation = "SET" }, get = { .operation = "GET" };
		struct call push = { .operation = "LPUSH", .status = "error",
				     .attributes = "{\"error.type\": \"WRONGTYPE\"}" };
		char *key = text("key-%d-%d", wire->port, number);
		size_t len = number * 100;
		char *value = malloc(len + 1);
		redisReply *reply;
		int64_t start;

		memset(value, 'v', len);
		start = now();
		reply = ask(line, "SET %s %b", key, value, len);
		answered(wire, set, start);
		free_reply(reply, REDIS_REPLY_STATUS);
		start = now();
		reply = ask(line, "GET %s", key);
		answered(wire, get, start);
		free_reply(reply, REDIS_REPLY_STRING);
		start = now();
		reply = ask(line, "LPUSH %s 1", key);
		answered(wire, push, start);
		free_reply(reply, REDIS_REPLY_ERROR);
		pipeline(line, key);
	}
}

int main(int argc, char **argv)
{
	struct client client = { connect_redis, warm, use };

	return run_clients(argc, argv, client);
}
