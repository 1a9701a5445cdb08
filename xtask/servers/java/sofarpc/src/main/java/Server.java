import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import java.util.ArrayList;
import java.util.List;
import shop.Orders;

/** A SOFARPC provider over Bolt on 127.0.0.1: two PORTs. */
public class Server {
  public static class Shop implements Orders {
    public String get(String order) {
      return "got " + order;
    }

    public String refuse(String order) {
      throw new IllegalStateException("no " + order);
    }

    public void note(String text) {
    }
  }

  public static void main(String[] arguments) throws Exception {
    ProviderConfig<Orders> provider = new ProviderConfig<Orders>().setInterfaceId(Orders.class.getName())
        .setRef(new Shop()).setRegister(false).setRepeatedExportLimit(-1);
    List<ServerConfig> servers = new ArrayList<>();
    for (String port : arguments) {
      servers.add(new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(port)));
    }
    provider.setServer(servers).export();
    Thread.currentThread().join();
  }
}
