import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.MethodConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import shop.Orders;

/** SOFARPC over Bolt: calls one by one and at once, exceptions, calls without an answer. All references to a
 * port share a connection. */
public class Client implements Truth.Connection {
  private static final int AT_ONCE = 5;
  private static int count;

  private final Orders orders;
  private final int port;

  private Client(int first) throws Exception {
    int to = count++ % 2 == 0 ? first : Integer.parseInt(Truth.option("other", ""));
    ConsumerConfig<Orders> consumer = new ConsumerConfig<Orders>().setInterfaceId(Orders.class.getName())
        .setProtocol("bolt").setDirectUrl("bolt://127.0.0.1:" + to).setTimeout(20_000).setRegister(false)
        .setRepeatedReferLimit(-1)
        .setMethods(List.of(new MethodConfig().setName("note").setInvokeType("oneway")));
    orders = Truth.opened(to, () -> {
      Orders made = consumer.refer();
      made.get("0");
      return made;
    }, "shop.Orders/get");
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
    Truth.main(words, Client::new);
  }
}
