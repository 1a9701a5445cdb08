import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Two calls a request on Java: by a pool of eight, by the pool at once, by HttpClient, by two tasks of their
 * own. With a third argument requests and such tasks have virtual threads. PORT BACKEND_PORT [virtual]
 */
public final class Front {
    private static String backend;
    private static final ExecutorService POOL = Executors.newFixedThreadPool(8);
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static ExecutorService tasks;

    private Front() {}

    private static String url(String token, int number) throws Exception {
        String text = System.getenv("ARENA_KEY") + ":" + token + ":" + number;
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return "http://127.0.0.1:" + backend + "/b/" + HexFormat.of().formatHex(hash, 0, 8);
    }

    private static String call(String token, int number) throws Exception {
        try (var in = new URL(url(token, number)).openConnection().getInputStream()) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static String client(String token, int number) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url(token, number))).build();
        return CLIENT.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    private static String work(String way, String token) throws Exception {
        switch (way) {
            case "direct":
                return call(token, 1) + call(token, 2);
            case "pool":
                return POOL.submit(() -> call(token, 1)).get() + POOL.submit(() -> call(token, 2)).get();
            case "futures":
                var first = POOL.submit(() -> call(token, 1));
                var second = POOL.submit(() -> call(token, 2));
                return first.get() + second.get();
            case "tasks":
                var one = tasks.submit(() -> call(token, 1));
                var other = tasks.submit(() -> call(token, 2));
                return one.get() + other.get();
            default:
                return client(token, 1) + client(token, 2);
        }
    }

    private static void handle(HttpExchange exchange) throws IOException {
        String[] parts = exchange.getRequestURI().getPath().split("/");
        int status = 200;
        byte[] body;
        try {
            body = work(parts[1], parts[2]).getBytes(StandardCharsets.UTF_8);
        } catch (Exception error) {
            status = 500;
            body = error.toString().getBytes(StandardCharsets.UTF_8);
        }
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    /** A virtual thread for each task; by its name, so that older compilers take it (JEP 444). */
    private static ExecutorService virtual() throws ReflectiveOperationException {
        return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("http.maxConnections", "256");
        backend = arguments[1];
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 256);
        server.createContext("/", Front::handle);
        tasks = arguments.length > 2 ? virtual() : Executors.newCachedThreadPool();
        server.setExecutor(arguments.length > 2 ? tasks : Executors.newFixedThreadPool(48));
        server.start();
    }
}
