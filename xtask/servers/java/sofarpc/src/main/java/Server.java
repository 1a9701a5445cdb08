import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import java.util.ArrayList;
import java.util.List;
import shop.Orders;
import shop.Seller;

/** A SOFARPC provider over Bolt on 127.0.0.1: two PORTs. */
public class Server {
  public static void main(String[] arguments) throws Exception {
    ProviderConfig<Orders> provider = new ProviderConfig<Orders>().setInterfaceId(Orders.class.getName())
        .setRef(new Seller()).setRegister(false).setRepeatedExportLimit(-1);
    List<ServerConfig> servers = new ArrayList<>();
    for (String port : arguments) {
      servers.add(new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(port)));
    }
    provider.setServer(servers).export();
    Thread.currentThread().join();
  }
}
