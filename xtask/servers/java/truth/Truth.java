import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;

/** Truth: what a client in Java did, as truth.py says for those in Python. */
public class Truth {
  /** An open connection. */
  public interface Connection {
    int port();

    /** A few calls whose answers it reads. */
    void warm() throws Exception;

    /** The known calls, each in the log. */
    void use() throws Exception;
  }

  /** Opens a connection; what a library says by itself meanwhile goes into the log. */
  public interface Opens {
    Connection open(int port) throws Exception;
  }

  /** What may fail. */
  public interface Act {
    void act() throws Exception;
  }

  private static final Map<String, String> OPTIONS = new TreeMap<>();
  private static final Set<Integer> OLD = Collections.synchronizedSet(new HashSet<>());
  private static final List<String> LINES = Collections.synchronizedList(new ArrayList<>());

  /** An option of truth.py. */
  public static String option(String name, String otherwise) {
    return OPTIONS.getOrDefault("--" + name, otherwise);
  }

  /** Calls of a kind on a connection. */
  public static int calls() {
    return Integer.parseInt(option("calls", "10"));
  }

  /** Nanoseconds since 1970, by `CLOCK_REALTIME`. */
  public static long time() {
    Instant now = Instant.now();
    return now.getEpochSecond() * 1_000_000_000L + now.getNano();
  }

  /** One call, which `act` makes. */
  public static void call(int port, String operation, Map<String, Object> more, Act act) throws Exception {
    long start = time();
    act.act();
    add(port, operation, start, time(), more);
  }

  /** A call that is over. */
  public static void add(int port, String operation, long start, long end, Map<String, Object> more) {
    Map<String, Object> all = new TreeMap<>(Map.of("status", "ok"));
    all.putAll(Map.of("connection", port, "operation", operation, "start", start, "end", end));
    all.put("old", OLD.contains(port));
    all.putAll(more);
    LINES.add(json(all));
  }

  /** What a library says on its own while `open` opens a connection to `port`, and the client's port of it. */
  public static <T> T opened(int port, Callable<T> open, String... operations) throws Exception {
    Set<Integer> before = ports(port);
    long start = time();
    T made = open.call();
    for (int own : ports(port)) {
      if (!before.contains(own)) {
        last = own;
        for (String operation : operations) add(own, operation, start, time(), Map.of("opening", true));
      }
    }
    return made;
  }

  private static int last;

  /** The client's port of what was opened last. */
  public static int last() {
    return last;
  }

  /** This process' own ports on TCP connections to a server. */
  public static Set<Integer> ports(int server) throws IOException {
    Set<String> inodes = new HashSet<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
      for (Path fd : all) {
        try {
          String to = Files.readSymbolicLink(fd).toString();
          if (to.startsWith("socket:[")) inodes.add(to.substring(8, to.length() - 1));
        } catch (IOException closed) {
          // The folder was one of them.
        }
      }
    }
    Set<Integer> found = new HashSet<>();
    for (String table : List.of("tcp", "tcp6")) {
      for (String row : Files.readAllLines(Path.of("/proc/self/net", table))) {
        String[] fields = row.trim().split("\\s+");
        if (inodes.contains(fields[9]) && port(fields[2]) == server) found.add(port(fields[1]));
      }
    }
    return found;
  }

  private static int port(String address) {
    return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1), 16);
  }

  private static String json(Object value) {
    if (value instanceof Map<?, ?> map) {
      List<String> fields = new ArrayList<>();
      map.forEach((key, field) -> fields.add(json(key) + ":" + json(field)));
      return "{" + String.join(",", fields) + "}";
    }
    if (value instanceof String text) return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    return String.valueOf(value);
  }

  /** Runs all at once, and throws the first of what they throw. */
  public static void atOnce(List<? extends Act> acts) throws Exception {
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    for (Act act : acts) {
      Thread thread = new Thread(() -> {
        try {
          act.act();
        } catch (Throwable failure) {
          failure.printStackTrace();
          failures.add(failure);
        }
      });
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) thread.join();
    if (!failures.isEmpty()) throw new Exception(failures.get(0));
  }

  /** A client. Half of its connections are older than the line `go` of standard input. */
  public static void main(String[] words, Opens opens) throws Exception {
    PrintStream tells = System.out;
    // What libraries print is not for the test.
    System.setOut(System.err);
    for (int at = 0; at + 1 < words.length; at += 2) OPTIONS.put(words[at], words[at + 1]);
    int port = Integer.parseInt(option("port", ""));
    int connections = Integer.parseInt(option("connections", "4"));
    List<Connection> all = new ArrayList<>();
    try {
      while (all.size() < connections / 2) all.add(opens.open(port));
      for (Connection connection : all) {
        connection.warm();
        OLD.add(connection.port());
      }
    } catch (Exception failure) {
      // Threads of the library would go on.
      failure.printStackTrace();
      Runtime.getRuntime().halt(1);
    }
    LINES.clear();
    tells.println("ready");
    BufferedReader said = new BufferedReader(new InputStreamReader(System.in));
    if ("go".equals(said.readLine())) {
      try {
        while (all.size() < connections) all.add(opens.open(port));
        List<Act> uses = new ArrayList<>();
        for (Connection connection : all) uses.add(connection::use);
        atOnce(uses);
        Files.write(Path.of(option("truth", "")), LINES);
        tells.println("done");
      } catch (Exception failure) {
        tells.println("failed " + failure);
      }
      // The connections stay open until the test has read the spans.
      said.readLine();
    }
    Runtime.getRuntime().halt(0);
  }
}
