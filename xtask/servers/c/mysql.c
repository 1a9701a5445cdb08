/* MySQL's protocol with MariaDB's connector: as mysql_client.py. */
#include <mysql.h>
#include <stdlib.h>
#include <string.h>

#include "truth.h"

#define KEPT "SELECT name FROM items WHERE id = ?"

struct line {
	struct wire wire;
	MYSQL *to;
	MYSQL_STMT *kept;
};

static struct wire *connect_mysql(void)
{
	struct line *line = calloc(1, sizeof(*line));
	struct call opening = { .operation = "HandshakeResponse", .opening = 1 };
	int64_t start = now();

	line->to = mysql_init(NULL);
	if (options.tls)
		mysql_ssl_set(line->to, NULL, NULL, options.tls, NULL, NULL);
	check(mysql_real_connect(line->to, "127.0.0.1", "probe", "probe", "shop", options.port, NULL, 0) != NULL,
	      mysql_error(line->to));
	check(!options.tls || mysql_get_ssl_cipher(line->to) != NULL, "not under TLS");
	line->wire.port = port_of(mysql_get_socket(line->to));
	answered(&line->wire, opening, start);
	return &line->wire;
}

static void drain(struct line *line)
{
	MYSQL_RES *rows = mysql_store_result(line->to);

	if (rows)
		mysql_free_result(rows);
}

static void run(struct line *line, struct call call, const char *statement)
{
	int64_t start = now();
	int failed = mysql_query(line->to, statement);

	drain(line);
	answered(&line->wire, call, start);
	check(!failed == !call.status, mysql_error(line->to));
}

static void prepare(struct line *line)
{
	line->kept = mysql_stmt_init(line->to);
	check(!mysql_stmt_prepare(line->kept, KEPT, strlen(KEPT)), mysql_error(line->to));
}

static void warm(struct wire *wire)
{
	struct line *line = (struct line *)wire;

	check(!mysql_query(line->to, "CREATE TABLE IF NOT EXISTS items (id int, name text)"), "no table");
	check(!mysql_query(line->to, "CREATE TABLE IF NOT EXISTS orders (id int, note text)"), "no table");
	/* Its text is sent now, and never again. */
	prepare(line);
}

static void kept(struct line *line, int number)
{
	struct call call = { .operation = "SELECT items", .vague = "COM_STMT_EXECUTE" };
	MYSQL_BIND bind = { .buffer_type = MYSQL_TYPE_LONG, .buffer = &number };
	int64_t start = now();

	check(!mysql_stmt_bind_param(line->kept, &bind), "no parameter");
	check(!mysql_stmt_execute(line->kept), mysql_error(line->to));
	check(!mysql_stmt_store_result(line->kept), mysql_error(line->to));
	answered(&line->wire, call, start);
	mysql_stmt_free_result(line->kept);
}

static void use(struct wire *wire)
{
	struct line *line = (struct line *)wire;
	struct call insert = { .operation = "INSERT items" }, find = { .operation = "SELECT items" };
	struct call large = { .operation = "SELECT" }, orders = { .operation = "SELECT orders" };
	struct call many = { .operation = "INSERT orders" };
	struct call nowhere = { .operation = "SELECT nowhere", .status = "error",
				.attributes = "{\"db.response.status_code\": \"1146\"}" };

	if (!line->kept) {
		struct call first = { .operation = "Prepare SELECT items", .opening = 1 };
		int64_t start = now();

		prepare(line);
		answered(wire, first, start);
	}
	for (int number = 0; number < options.calls; number++) {
		run(line, insert, text("INSERT INTO items VALUES (%d, 'n-%d')", number, wire->port));
		run(line, find, text("SELECT * FROM items WHERE id = %d", number));
		run(line, large, "SELECT repeat('x', 100000)");
		kept(line, number);
		run(line, nowhere, "SELECT * FROM nowhere");
		run(line, many, "INSERT INTO orders VALUES (1, 'note'), (2, 'note'), (3, 'note')");
		run(line, orders, "SELECT * FROM orders LIMIT 50");
	}
}

int main(int argc, char **argv)
{
	struct client client = { connect_mysql, warm, use };

	return run_clients(argc, argv, client);
}
