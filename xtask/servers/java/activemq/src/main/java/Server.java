import org.apache.activemq.broker.BrokerService;

/** ActiveMQ on 127.0.0.1, keeping everything in memory: TRANSPORT (tcp, amqp, stomp) and PORT. */
public class Server {
  public static void main(String[] arguments) throws Exception {
    BrokerService broker = new BrokerService();
    broker.setPersistent(false);
    broker.setUseJmx(false);
    broker.addConnector(arguments[0] + "://127.0.0.1:" + arguments[1]);
    broker.start();
    broker.waitUntilStopped();
  }
}
