import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.MethodConfig;
import java.util.List;
import shop.Orders;

/** A buyer by SOFARPC over Bolt. All references to a port share a connection. */
public class Client {
  private static int count;

  private static Buyer open(int first) throws Exception {
    int to = count++ % 2 == 0 ? first : Integer.parseInt(Truth.option("other", ""));
    ConsumerConfig<Orders> consumer = new ConsumerConfig<Orders>().setInterfaceId(Orders.class.getName())
        .setProtocol("bolt").setDirectUrl("bolt://127.0.0.1:" + to).setTimeout(20_000).setRegister(false)
        .setRepeatedReferLimit(-1)
        .setMethods(List.of(new MethodConfig().setName("note").setInvokeType("oneway")));
    return new Buyer(Truth.opened(to, () -> {
      Orders made = consumer.refer();
      made.get("0");
      return made;
    }, "shop.Orders/get"));
  }

  public static void main(String[] words) throws Exception {
    Truth.main(words, Client::open);
  }
}
