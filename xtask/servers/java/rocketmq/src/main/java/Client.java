import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** RocketMQ: sends with and without answers, also several at once, pulls, a message that is refused. */
public class Client implements Truth.Connection {
  private static final int AT_ONCE = 5;
  private static int count;

  private final DefaultMQProducer producer;
  private final DefaultMQPullConsumer consumer;
  private final String topic = "Orders" + (char) ('A' + count++);
  private final MessageQueue queue = new MessageQueue(topic, "probe", 0);
  private final int port;
  private long taken;

  private Client(int to) throws Exception {
    String names = "127.0.0.1:" + Truth.option("other", "");
    // Producer and consumer of one name share a connection.
    producer = new DefaultMQProducer("orders");
    producer.setNamesrvAddr(names);
    producer.setInstanceName(topic);
    producer.setVipChannelEnabled(false);
    producer.setSendMsgTimeout(20_000);
    producer.setMqClientApiTimeout(20_000);
    producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
    consumer = new DefaultMQPullConsumer("shop");
    consumer.setNamesrvAddr(names);
    consumer.setInstanceName(topic);
    consumer.setVipChannelEnabled(false);
    consumer.setMqClientApiTimeout(20_000);
    consumer.setEnableStreamRequestType(false);
    MQClientInstance[] instance = new MQClientInstance[1];
    Truth.opened(to, () -> {
      producer.start();
      instance[0] = producer.getDefaultMQProducerImpl().getMqClientFactory();
      // The broker tells the name server about itself when it serves already.
      while (!instance[0].updateTopicRouteInfoFromNameServer("TBW102")) Thread.sleep(200);
      // What the name server says is not where a relay is.
      redirect(instance[0], to);
      producer.createTopic("TBW102", topic, 1, Map.of());
      return null;
    });
    port = Truth.last();
    instance[0].updateTopicRouteInfoFromNameServer(topic);
    redirect(instance[0], to);
    consumer.start();
  }

  @SuppressWarnings("unchecked")
  private static void redirect(MQClientInstance instance, int to) throws Exception {
    Field table = MQClientInstance.class.getDeclaredField("brokerAddrTable");
    table.setAccessible(true);
    ((Map<String, Map<Long, String>>) table.get(instance)).put("probe", new HashMap<>(Map.of(0L, "127.0.0.1:" + to)));
  }

  public int port() {
    return port;
  }

  public void warm() throws Exception {
    send("warm".getBytes());
    pull(1);
  }

  public void use() throws Exception {
    for (int number = 0; number < Truth.calls(); number++) {
      send(new byte[500 * number + 1]);
      // Until the agent knows what a connection speaks, it copies little of a call.
      if (number == 0) Thread.sleep(1000);
      Truth.call(port, "send " + topic, Map.of(), () -> {
        producer.sendOneway(new Message(topic, "note", new byte[10]), queue);
        // It is written by another thread.
        Thread.sleep(100);
      });
      pull(2);
      List<Truth.Act> acts = new ArrayList<>();
      for (int part = 0; part < AT_ONCE; part++) acts.add(() -> send(new byte[100]));
      Truth.atOnce(acts);
      pull(AT_ONCE);
      // Nothing is there.
      pull(0);
    }
    Truth.call(port, "send " + topic, told("error"), () -> {
      try {
        producer.send(new Message(topic, new byte[70_000]), queue);
      } catch (MQBrokerException refused) {
        return;
      }
      throw new Exception("it was not refused");
    });
  }

  private Map<String, Object> told(String status) {
    return Map.of("status", status, "attributes", Map.of("messaging.destination.name", topic));
  }

  private void send(byte[] body) throws Exception {
    Truth.call(port, "send " + topic, told("ok"), () -> producer.send(new Message(topic, body), queue));
  }

  /** What was sent may be asked for a moment later. */
  private void pull(int expected) throws Exception {
    int left = expected;
    do {
      PullResult[] result = new PullResult[1];
      Truth.call(port, "pull " + topic, told("ok"), () -> result[0] = consumer.pull(queue, "*", taken, 32));
      if (result[0].getPullStatus() == PullStatus.FOUND) left -= result[0].getMsgFoundList().size();
      taken = result[0].getNextBeginOffset();
      Thread.sleep(5);
    } while (left > 0);
    if (left < 0) throw new Exception(-left + " messages too many");
  }

  public static void main(String[] words) throws Exception {
    Truth.main(words, Client::new);
  }
}
