/* HTTP/2 with curl, under TLS: as http2_client.py. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "truth.h"

#define STREAMS 20

struct line {
	struct wire wire;
	CURLM *all;
};

struct kind {
	const char *path, *name;
	long code;
	int size;
};

static const struct kind kinds[] = {
	{ "/orders/", "GET /orders/{id}", 200, 0 },
	{ "/orders/", "POST /orders/{id}", 200, 500 },
	{ "/nothing/", "GET /nothing/{id}", 404, 0 },
	{ "/broken/", "GET /broken/{id}", 503, 0 },
	{ "/files/big?", "GET /files/big", 200, 0 },
};

/* A request under way. */
struct ask {
	const struct kind *kind;
	char *path;
	int64_t start;
};

static size_t swallow(char *bytes, size_t size, size_t count, void *of)
{
	(void)bytes, (void)of;
	return size * count;
}

static void begin(struct line *line, const struct kind *kind, int number, int part)
{
	CURL *one = curl_easy_init();
	struct ask *ask = calloc(1, sizeof(*ask));

	ask->kind = kind;
	ask->path = text("%s%d%03d%03d", kind->path, line->wire.port, number, part);
	curl_easy_setopt(one, CURLOPT_URL, text("https://localhost:%d%s", options.port, ask->path));
	curl_easy_setopt(one, CURLOPT_CAINFO, options.tls);
	curl_easy_setopt(one, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
	/* On the one connection, as soon as it is known to be one of HTTP/2. */
	curl_easy_setopt(one, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(one, CURLOPT_WRITEFUNCTION, swallow);
	curl_easy_setopt(one, CURLOPT_PRIVATE, ask);
	if (kind->size) {
		curl_easy_setopt(one, CURLOPT_POSTFIELDSIZE, (long)kind->size);
		curl_easy_setopt(one, CURLOPT_COPYPOSTFIELDS, calloc(1, kind->size));
	}
	ask->start = now();
	curl_multi_add_handle(line->all, one);
}

static void end(struct line *line, CURL *one, CURLcode result)
{
	struct ask *ask;
	long code = 0, version = 0, port = 0;
	struct call call = { .server_status = "ok" };

	curl_easy_getinfo(one, CURLINFO_PRIVATE, &ask);
	curl_easy_getinfo(one, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(one, CURLINFO_HTTP_VERSION, &version);
	curl_easy_getinfo(one, CURLINFO_LOCAL_PORT, &port);
	check(result == CURLE_OK, curl_easy_strerror(result));
	check(code == ask->kind->code && version == CURL_HTTP_VERSION_2, "another answer");
	check(!line->wire.port || line->wire.port == port, "another connection");
	line->wire.port = port;
	call.operation = ask->kind->name;
	call.vague = ask->kind->size ? "POST" : "GET";
	call.status = code < 400 ? "ok" : "error";
	if (code >= 500)
		call.server_status = "error";
	call.attributes = text("{\"url.path\": \"%.*s\", \"http.response.status_code\": %ld}",
			       (int)strcspn(ask->path, "?"), ask->path, code);
	answered(&line->wire, call, ask->start);
	curl_multi_remove_handle(line->all, one);
	curl_easy_cleanup(one);
	free(ask);
}

/* Until all that is under way is answered. */
static void finish(struct line *line)
{
	int open = 1, left;
	CURLMsg *message;

	while (open) {
		check(curl_multi_perform(line->all, &open) == CURLM_OK, "no progress");
		while ((message = curl_multi_info_read(line->all, &left)))
			end(line, message->easy_handle, message->data.result);
		if (open)
			curl_multi_poll(line->all, NULL, 0, 1000, NULL);
	}
}

static struct wire *connect_http2(void)
{
	struct line *line = calloc(1, sizeof(*line));

	line->all = curl_multi_init();
	curl_multi_setopt(line->all, CURLMOPT_MAX_TOTAL_CONNECTIONS, 1L);
	begin(line, &kinds[0], 0, 0);
	finish(line);
	return &line->wire;
}

static void warm(struct wire *wire)
{
	begin((struct line *)wire, &kinds[0], 0, 1);
	finish((struct line *)wire);
}

static void use(struct wire *wire)
{
	struct line *line = (struct line *)wire;

	begin(line, &kinds[0], 0, 2);
	finish(line);
	/* Until the agent knows what a connection speaks, it copies little of a call. */
	sleep(1);
	for (int number = 1; number <= options.calls; number++) {
		for (int part = 0; part < STREAMS; part++)
			begin(line, &kinds[part % 5], number, part);
		finish(line);
	}
}

int main(int argc, char **argv)
{
	struct client client = { connect_http2, warm, use };

	curl_global_init(CURL_GLOBAL_DEFAULT);
	return run_clients(argc, argv, client);
}
