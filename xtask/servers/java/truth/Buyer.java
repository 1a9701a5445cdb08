import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import shop.Orders;

/** Buyer: calls of `Orders` one by one and at once, exceptions, calls without an answer; whatever carries them. */
public class Buyer implements Truth.Connection {
  private static final int AT_ONCE = 5;

  private final Orders orders;
  private final int port;

  /** Over the connection that was opened last. */
  public Buyer(Orders orders) {
    this.orders = orders;
    port = Truth.last();
  }

  public int port() {
    return port;
  }

  public void warm() {
    orders.get("1");
    orders.get("2");
  }

  private void get(String order) throws Exception {
    call("get", "ok", () -> orders.get(order));
  }

  private void call(String method, String status, Truth.Act act) throws Exception {
    String name = "shop.Orders/" + method;
    Truth.call(port, name, Map.of("status", status, "attributes", Map.of("rpc.method", name)), act);
  }

  public void use() throws Exception {
    for (int count = 0; count < Truth.calls(); count++) {
      int number = count;
      get("x".repeat(400 * number));
      // Until the agent knows what a connection speaks, it copies little of a call.
      if (number == 0) Thread.sleep(1000);
      call("refuse", "error", () -> {
        try {
          orders.refuse("order " + number);
        } catch (IllegalStateException refused) {
          return;
        }
        throw new Exception("it was not refused");
      });
      call("note", "ok", () -> {
        orders.note("number " + number);
        // It is written by another thread.
        Thread.sleep(100);
      });
      List<Truth.Act> acts = new ArrayList<>();
      for (int part = 0; part < AT_ONCE; part++) {
        String order = part + " of " + number;
        acts.add(() -> get(order));
      }
      Truth.atOnce(acts);
    }
  }
}
