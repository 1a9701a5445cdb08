import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import shop.Orders;
import shop.Seller;

/** A Dubbo provider on 127.0.0.1: PORT. */
public class Server {
  public static void main(String[] arguments) {
    // It would listen on all addresses where it is told one that begins with 127.
    System.setProperty("DUBBO_IP_TO_BIND", "2130706433");
    ServiceConfig<Orders> service = new ServiceConfig<>();
    service.setInterface(Orders.class);
    service.setRef(new Seller());
    ApplicationConfig application = new ApplicationConfig("orders");
    application.setQosEnable(false);
    ProtocolConfig protocol = new ProtocolConfig("dubbo", Integer.parseInt(arguments[0]));
    protocol.setHost("127.0.0.1");
    DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"))
        .protocol(protocol).service(service).start().await();
  }
}
