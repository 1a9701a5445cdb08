/* PostgreSQL with libpq: as postgresql_client.py. */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "truth.h"

#define KEPT "SELECT name FROM items WHERE id = $1"

struct line {
	struct wire wire;
	PGconn *to;
	int is_prepared;
};

static struct wire *connect_postgresql(void)
{
	struct line *line = calloc(1, sizeof(*line));
	struct call opening = { .operation = "StartupMessage", .opening = 1 };
	const char *how = options.tls ? text("verify-full sslrootcert=%s", options.tls) : "disable";
	int64_t start = now();

	line->to = PQconnectdb(text("host=localhost hostaddr=127.0.0.1 port=%d user=postgres "
				    "dbname=postgres gssencmode=disable sslmode=%s", options.port, how));
	check(PQstatus(line->to) == CONNECTION_OK, PQerrorMessage(line->to));
	line->wire.port = port_of(PQsocket(line->to));
	answered(&line->wire, opening, start);
	return &line->wire;
}

static void done(PGresult *result, ExecStatusType status)
{
	check(PQresultStatus(result) == status, PQresultErrorMessage(result));
	PQclear(result);
}

static void prepare(struct line *line)
{
	done(PQprepare(line->to, "kept", KEPT, 1, NULL), PGRES_COMMAND_OK);
	line->is_prepared = 1;
}

static void warm(struct wire *wire)
{
	struct line *line = (struct line *)wire;

	done(PQexec(line->to, "SELECT pg_advisory_lock(1)"), PGRES_TUPLES_OK);
	done(PQexec(line->to, "CREATE TABLE IF NOT EXISTS items (id int, name text)"), PGRES_COMMAND_OK);
	done(PQexec(line->to, "CREATE TABLE IF NOT EXISTS orders (id int, note text)"), PGRES_COMMAND_OK);
	done(PQexec(line->to, "SELECT pg_advisory_unlock(1)"), PGRES_TUPLES_OK);
	/* Its text is sent now, and never again. */
	prepare(line);
}

static void run(struct line *line, struct call call, const char *statement, ExecStatusType status)
{
	int64_t start = now();
	PGresult *result = PQexec(line->to, statement);

	answered(&line->wire, call, start);
	done(result, status);
}

static void copy(struct line *line, int number)
{
	struct call call = { .operation = "COPY orders" };
	int64_t start = now();

	done(PQexec(line->to, "COPY orders FROM STDIN"), PGRES_COPY_IN);
	for (int row = 0; row < 50; row++) {
		char *line_of_row = text("%d\tnote %d\n", row, number);

		check(PQputCopyData(line->to, line_of_row, strlen(line_of_row)) == 1, "no copy");
	}
	check(PQputCopyEnd(line->to, NULL) == 1, "no end of the copy");
	done(PQgetResult(line->to), PGRES_COMMAND_OK);
	check(PQgetResult(line->to) == NULL, "more than a copy");
	answered(&line->wire, call, start);
}

/* Several statements with one Sync. */
static void batch(struct line *line)
{
	struct call call = { .operation = "BATCH UPDATE items" };
	const char *arguments[] = { "x", "-1" };
	int64_t start = now();

	check(PQenterPipelineMode(line->to), "no pipeline");
	for (int part = 0; part < 3; part++)
		check(PQsendQueryParams(line->to, "UPDATE items SET name = $1 WHERE id = $2", 2, NULL,
					arguments, NULL, NULL, 0), "not sent");
	check(PQpipelineSync(line->to), "no sync");
	for (int part = 0; part < 3; part++) {
		done(PQgetResult(line->to), PGRES_COMMAND_OK);
		check(PQgetResult(line->to) == NULL, "more than a statement");
	}
	done(PQgetResult(line->to), PGRES_PIPELINE_SYNC);
	check(PQexitPipelineMode(line->to), "still a pipeline");
	answered(&line->wire, call, start);
}

static void use(struct wire *wire)
{
	struct line *line = (struct line *)wire;
	struct call insert = { .operation = "INSERT items" }, find = { .operation = "SELECT items" };
	struct call large = { .operation = "SELECT" }, first = { .operation = "Parse SELECT items" };
	struct call kept = { .operation = "SELECT items", .vague = "Execute" };
	struct call nowhere = { .operation = "SELECT nowhere", .status = "error",
				.attributes = "{\"db.response.status_code\": \"42P01\"}" };

	for (int number = 0; number < options.calls; number++) {
		const char *arguments[] = { text("%d", number), "x" };
		int64_t start;

		run(line, insert, text("INSERT INTO items VALUES (%d, 'n')", number), PGRES_COMMAND_OK);
		start = now();
		done(PQexecParams(line->to, "SELECT * FROM items WHERE id = $1 AND name = $2", 2, NULL,
				  arguments, NULL, NULL, 0), PGRES_TUPLES_OK);
		answered(wire, find, start);
		run(line, large, "SELECT repeat('x', 100000)", PGRES_TUPLES_OK);
		start = now();
		if (!line->is_prepared) {
			prepare(line);
			answered(wire, first, start);
			start = now();
		}
		done(PQexecPrepared(line->to, "kept", 1, arguments, NULL, NULL, 0), PGRES_TUPLES_OK);
		answered(wire, kept, start);
		run(line, nowhere, "SELECT * FROM nowhere", PGRES_FATAL_ERROR);
		copy(line, number);
		batch(line);
	}
}

int main(int argc, char **argv)
{
	struct client client = { connect_postgresql, warm, use };

	return run_clients(argc, argv, client);
}
