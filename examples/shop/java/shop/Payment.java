package shop;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;

/**
 * payment: takes the money and has it booked by ledger. A fixed pool of threads serves, the JDK's
 * HttpClient with its own pool of connections calls. Now and then the bank refuses.
 */
public final class Payment {
    private static final int PORT = port("PORT");
    private static final int LEDGER = port("LEDGER_PORT");
    private static final int REFUSED_EVERY = 20;

    private final Truth truth = new Truth("payment");
    private final AtomicLong payments = new AtomicLong();
    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5)).build();

    private Payment() throws IOException {}

    public static void main(String[] arguments) throws IOException {
        Payment payment = new Payment();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", PORT), 128);
        server.createContext("/payments/", payment::serve);
        server.createContext("/health", exchange -> answer(exchange, 200, "{}"));
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }

    private void serve(HttpExchange exchange) throws IOException {
        Truth.Begun begun = truth.begin();
        exchange.getRequestBody().readAllBytes();
        String path = exchange.getRequestURI().getPath();
        int status = pay(begun.number(), path.substring("/payments/".length()));
        answer(exchange, status, status == 200 ? "{\"paid\":true}" : "{\"error\":\"refused\"}");
        truth.served(begun, PORT, exchange.getRemoteAddress().getPort(),
                exchange.getRequestMethod() + " " + path, status);
    }

    private int pay(long request, String account) {
        if (payments.incrementAndGet() % REFUSED_EVERY == 0) {
            return 502;
        }
        return book(request, account) == 200 ? 200 : 500;
    }

    /** Calls ledger for the request numbered {@code request}; returns the status, 0 for none. */
    private int book(long request, String account) {
        String path = "/bookings/" + account;
        HttpRequest call = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + LEDGER + path))
                .POST(HttpRequest.BodyPublishers.noBody()).timeout(Duration.ofSeconds(5)).build();
        Truth.Begun begun = truth.begin();
        int status = 0;
        int local = 0;
        try {
            HttpResponse<String> response = client.send(call, HttpResponse.BodyHandlers.ofString());
            status = response.statusCode();
            // HttpClient does not tell which connection it took; the other end sees its port.
            local = response.headers().firstValue("X-Peer-Port").map(Integer::parseInt).orElse(0);
        } catch (IOException error) {
            System.err.println("ledger: " + error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        truth.called(begun, request, local, LEDGER, "POST " + path, status);
        return status;
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        byte[] data = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, data.length);
        exchange.getResponseBody().write(data);
        exchange.close();
    }

    private static int port(String name) {
        return Integer.parseInt(System.getenv(name));
    }
}
