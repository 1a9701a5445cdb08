package shop;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What this process served and called, written to a file outside the traffic. The format is
 * described in ../../README.md. Lines reach the file within a second.
 */
final class Truth {
    /** A request or call with its number, which rises within the process, and its begin. */
    record Begun(long number, long at) {}

    private final AtomicLong numbers = new AtomicLong();
    private final BufferedWriter file;

    Truth(String service) throws IOException {
        file = Files.newBufferedWriter(Path.of(System.getenv("TRUTH")),
                StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        write("{\"process\":%d,\"service\":\"%s\",\"precision_ns\":100000}"
                .formatted(ProcessHandle.current().pid(), service));
        Thread flusher = new Thread(this::flushOften, "truth");
        flusher.setDaemon(true);
        flusher.start();
        Runtime.getRuntime().addShutdownHook(new Thread(this::flush));
    }

    Begun begin() {
        return new Begun(numbers.incrementAndGet(), now());
    }

    /** A request was answered; ports of this and of the other end. */
    void served(Begun begun, int local, int peer, String operation, int status) {
        write("{\"serve\":%d,\"local\":%d,\"peer\":%d,\"begin\":%d,\"end\":%d,\"op\":\"%s\",\"status\":%d}"
                .formatted(begun.number, local, peer, begun.at, now(), operation, status));
    }

    /** A call was made for the request numbered {@code request}. */
    void called(Begun begun, long request, int local, int peer, String operation, int status) {
        write(("{\"call\":%d,\"for\":%d,\"local\":%d,\"peer\":%d,\"begin\":%d,\"end\":%d,"
                + "\"op\":\"%s\",\"status\":%d}")
                .formatted(begun.number, request, local, peer, begun.at, now(), operation, status));
    }

    private static long now() {
        Instant instant = Instant.now();
        return instant.getEpochSecond() * 1_000_000_000L + instant.getNano();
    }

    private synchronized void write(String line) {
        try {
            file.write(line);
            file.newLine();
        } catch (IOException error) {
            System.err.println("truth: " + error);
        }
    }

    private synchronized void flush() {
        try {
            file.flush();
        } catch (IOException error) {
            System.err.println("truth: " + error);
        }
    }

    private void flushOften() {
        try {
            while (true) {
                Thread.sleep(500);
                flush();
            }
        } catch (InterruptedException ended) {
            flush();
        }
    }
}
