/* AMQP 0-9-1 with librabbitmq: as amqp_client.py. */
#include <amqp.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

struct line {
	struct wire wire;
	amqp_connection_state_t to;
};

static void fine(amqp_rpc_reply_t reply)
{
	check(reply.reply_type == AMQP_RESPONSE_NORMAL, "the broker refuses");
}

static struct wire *connect_amqp(void)
{
	struct line *line = calloc(1, sizeof(*line));
	struct call start_call = { .operation = "connection.start", .opening = 1 };
	struct call open_call = { .operation = "connection.open", .opening = 1 };
	int64_t start = now();
	amqp_socket_t *socket;

	line->to = amqp_new_connection();
	if (options.tls) {
		socket = amqp_ssl_socket_new(line->to);
		check(!amqp_ssl_socket_set_cacert(socket, options.tls), "no certificate");
	} else {
		socket = amqp_tcp_socket_new(line->to);
	}
	check(!amqp_socket_open(socket, "localhost", options.port), "no connection");
	line->wire.port = port_of(amqp_get_sockfd(line->to));
	fine(amqp_login(line->to, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"));
	answered(&line->wire, start_call, start);
	answered(&line->wire, open_call, start);
	amqp_channel_open(line->to, 1);
	fine(amqp_get_rpc_reply(line->to));
	return &line->wire;
}

static void declare(struct line *line, const char *name, int exclusive)
{
	amqp_queue_declare(line->to, 1, amqp_cstring_bytes(name), 0, 0, exclusive, 0, amqp_empty_table);
	fine(amqp_get_rpc_reply(line->to));
}

static void warm(struct wire *wire)
{
	declare((struct line *)wire, text("warm-%d", wire->port), 0);
}

static void use(struct wire *wire)
{
	struct line *line = (struct line *)wire;
	char *name = text("orders-%d", wire->port);
	struct call queue = { .operation = "queue.declare" };
	struct call publish = { .operation = text("publish %s", name) };
	struct call get = { .operation = text("get %s", name),
			    .attributes = text("{\"messaging.destination.name\": \"%s\"}", name) };
	struct call ack = { .operation = "ack" };
	int64_t start = now();

	declare(line, name, 1);
	answered(wire, queue, start);
	/* Until the agent knows what a connection speaks, it copies little of a call. */
	sleep(1);
	for (int number = 0; number < options.calls; number++) {
		amqp_bytes_t body = { .len = 1000 * number, .bytes = calloc(1, 1000 * number + 1) };
		amqp_rpc_reply_t reply;
		amqp_basic_get_ok_t *taken;
		amqp_message_t message;
		uint64_t tag;

		start = now();
		check(!amqp_basic_publish(line->to, 1, amqp_empty_bytes, amqp_cstring_bytes(name), 0, 0,
					  NULL, body), "not published");
		answered(wire, publish, start);
		start = now();
		reply = amqp_basic_get(line->to, 1, amqp_cstring_bytes(name), 0);
		fine(reply);
		check(reply.reply.id == AMQP_BASIC_GET_OK_METHOD, "the queue is empty");
		taken = reply.reply.decoded;
		tag = taken->delivery_tag;
		fine(amqp_read_message(line->to, 1, &message, 0));
		answered(wire, get, start);
		amqp_destroy_message(&message);
		start = now();
		check(!amqp_basic_ack(line->to, 1, tag, 0), "not acknowledged");
		answered(wire, ack, start);
		amqp_maybe_release_buffers(line->to);
	}
}

int main(int argc, char **argv)
{
	struct client client = { connect_amqp, warm, use };

	return run_clients(argc, argv, client);
}
