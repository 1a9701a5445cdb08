import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import shop.Orders;

/** Dubbo, in the serialisation `--kind`: calls one by one and at once, exceptions, calls without an answer. */
public class Client implements Truth.Connection {
  private static final int AT_ONCE = 5;

  private final Orders orders;
  private final int port;

  private Client(int to) throws Exception {
    MethodConfig note = new MethodConfig();
    note.setName("note");
    note.setReturn(false);
    ReferenceConfig<Orders> reference = new ReferenceConfig<>();
    reference.setInterface(Orders.class);
    // 127.0.0.1, which it would replace by another address of the host.
    reference.setUrl("dubbo://2130706433:" + to + "?prefer.serialization=&serialization=" + Truth.option("kind", "hessian2"));
    // One of its own for each reference.
    reference.setConnections(1);
    reference.setTimeout(20_000);
    reference.setRetries(0);
    reference.setMethods(List.of(note));
    orders = Truth.opened(to, reference::get);
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

  public static void main(String[] words) throws Exception {
    // As the server does, if the library listens for what it is asked about itself.
    System.setProperty("DUBBO_IP_TO_BIND", "2130706433");
    System.setProperty("dubbo.config.ignore-duplicated-interface", "true");
    ApplicationConfig application = new ApplicationConfig("buyer");
    application.setQosEnable(false);
    DubboBootstrap.getInstance().application(application);
    Truth.main(words, Client::new);
  }
}
