import java.util.List;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import shop.Orders;

/** A buyer over Dubbo, in the serialisation `--kind`. */
public class Client {
  private static Buyer open(int to) throws Exception {
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
    return new Buyer(Truth.opened(to, reference::get));
  }

  public static void main(String[] words) throws Exception {
    // As the server does, if the library listens for what it is asked about itself.
    System.setProperty("DUBBO_IP_TO_BIND", "2130706433");
    System.setProperty("dubbo.config.ignore-duplicated-interface", "true");
    ApplicationConfig application = new ApplicationConfig("buyer");
    application.setQosEnable(false);
    DubboBootstrap.getInstance().application(application);
    Truth.main(words, Client::open);
  }
}
