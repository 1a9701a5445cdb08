import org.codelibs.elasticsearch.runner.ElasticsearchClusterRunner;

/** One node of Elasticsearch on 127.0.0.1: HTTP PORT, transport PORT, FOLDER of its data. */
public class Server {
  public static void main(String[] arguments) throws Exception {
    ElasticsearchClusterRunner runner = new ElasticsearchClusterRunner();
    runner.onBuild((number, settings) -> {
      settings.put("network.host", "127.0.0.1");
      settings.put("http.port", arguments[0]);
      settings.put("transport.port", arguments[1]);
      settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
    }).build(ElasticsearchClusterRunner.newConfigs().numOfNode(1).basePath(arguments[2]).clusterName("probe").useLogger());
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try { runner.close(); } catch (Exception error) { error.printStackTrace(); }
    }));
    Thread.currentThread().join();
  }
}
