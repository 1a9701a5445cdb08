import org.apache.rocketmq.broker.BrokerStartup;
import org.apache.rocketmq.namesrv.NamesrvStartup;

/** A name server and a broker: FOLDER and the configurations of both. */
public class Server {
  public static void main(String[] arguments) {
    System.setProperty("rocketmq.home.dir", arguments[0]);
    NamesrvStartup.main(new String[] {"-c", arguments[1]});
    BrokerStartup.main(new String[] {"-c", arguments[2]});
  }
}
