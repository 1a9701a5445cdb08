import jakarta.jms.Connection;
import jakarta.jms.ConnectionFactory;
import jakarta.jms.DeliveryMode;
import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.qpid.jms.JmsConnectionFactory;

/** ActiveMQ by JMS, over OpenWire (`--kind tcp`, or `loose`) or AMQP 1.0 (`--kind amqp`): sends, also several at
 * once, deliveries, acknowledgements, what the broker refuses. */
public class Client implements Truth.Connection {
  private static final int AT_ONCE = 5;

  private final boolean isAmqp = Truth.option("kind", "tcp").equals("amqp");
  /** How the broker has the client begin addresses. */
  private final String prefix = isAmqp ? "queue://" : "";
  private final Connection connection;
  private final int port;
  private final Session session;
  private final Queue queue;
  private final MessageProducer producer;
  private final MessageConsumer consumer;

  private Client(int to) throws Exception {
    String options = "?wireFormat.maxInactivityDuration=0&jms.watchTopicAdvisories=false"
        + (Truth.option("kind", "tcp").equals("loose") ? "&wireFormat.tightEncodingEnabled=false" : "");
    ConnectionFactory factory = isAmqp
        ? new JmsConnectionFactory("amqp://127.0.0.1:" + to)
        : new ActiveMQConnectionFactory("tcp://127.0.0.1:" + to + options);
    connection = Truth.opened(to, () -> {
      Connection made = factory.createConnection();
      made.start();
      return made;
    }, isAmqp ? new String[0] : new String[] {"connect"});
    port = Truth.last();
    session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
    queue = session.createQueue("orders-" + port);
    long start = Truth.time();
    consumer = session.createConsumer(queue);
    if (!isAmqp) Truth.add(port, "subscribe orders-" + port, start, Truth.time(), Map.of());
    producer = producer(session, queue);
  }

  private MessageProducer producer(Session session, Queue queue) throws Exception {
    long start = Truth.time();
    MessageProducer made = session.createProducer(queue);
    String name = "create_producer " + queue.getQueueName();
    if (!isAmqp) Truth.add(port, name, start, Truth.time(), Map.of());
    return made;
  }

  public int port() {
    return port;
  }

  public void warm() throws Exception {
    producer.send(session.createTextMessage("warm"));
    consumer.receive(20_000).acknowledge();
  }

  public void use() throws Exception {
    for (int number = 0; number < Truth.calls(); number++) {
      one(number);
      // Until the agent knows what a connection speaks, it copies little of a call.
      if (number == 0) Thread.sleep(1000);
    }
    burst();
    refused();
  }

  /** What tells where to was sent before the agent came, on older connections. */
  private void add(String name, long start, long end) {
    Truth.add(port, name + " " + prefix + "orders-" + port, start, end, Map.of("vague", name));
  }

  private void one(int number) throws Exception {
    // Persistent messages are answered.
    producer.setDeliveryMode(number % 2 == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT);
    Message message = session.createTextMessage("x".repeat(300 * number));
    message.setStringProperty("tenant", "t-" + number);
    long start = Truth.time();
    producer.send(message);
    add("send", start, Truth.time());
    Message taken = consumer.receive(20_000);
    long end = Truth.time();
    add("deliver", start, end);
    taken.acknowledge();
    // What takes no answer may be written by another thread.
    Thread.sleep(50);
    if (isAmqp) {
      Truth.add(port, "accept", end, Truth.time(), Map.of());
    } else {
      add("ack", end, Truth.time());
    }
  }

  /** Several sessions send at once. */
  private void burst() throws Exception {
    List<Truth.Act> acts = new ArrayList<>();
    for (int number = 0; number < AT_ONCE; number++) {
      Session own = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
      MessageProducer sends = producer(own, own.createQueue("burst-" + port));
      acts.add(() -> {
        for (int count = 0; count < Truth.calls(); count++) {
          Message message = own.createTextMessage("y".repeat(100 * count));
          Truth.call(port, "send " + prefix + "burst-" + port, Map.of(), () -> sends.send(message));
        }
      });
    }
    Truth.atOnce(acts);
  }

  private void refused() throws Exception {
    if (isAmqp) {
      Truth.call(port, "detach", Map.of("status", "error"), () -> fails(() -> session.unsubscribe("nobody")));
    } else {
      // Somebody takes from it.
      ActiveMQDestination destination = ActiveMQDestination.transform(queue);
      Map<String, Object> told = Map.of("status", "error", "vague", "destination");
      Truth.call(port, "destination orders-" + port, told, () -> fails(() -> ((ActiveMQConnection) connection).destroyDestination(destination)));
    }
  }

  private static void fails(Truth.Act act) throws Exception {
    try {
      act.act();
    } catch (JMSException refused) {
      return;
    }
    throw new Exception("it was not refused");
  }

  public static void main(String[] words) throws Exception {
    Truth.main(words, Client::new);
  }
}
