import org.apache.rocketmq.store.ha.DefaultHAService;

/** No replicas: it would listen for them on all addresses. */
public class Alone extends DefaultHAService {
  @Override
  public void start() {
  }
}
