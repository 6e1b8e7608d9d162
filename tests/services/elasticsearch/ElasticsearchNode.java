import java.nio.file.Path;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;

/**
 * One Elasticsearch node on the loopback address:
 * {@code ElasticsearchNode HTTP_PORT HOME DATA [setting=value ...]}. HOME holds lib/ and modules/ as in a
 * distribution.
 */
public final class ElasticsearchNode {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[1]);
        Path logs = Path.of(args[2], "logs");
        Settings.Builder settings = Settings.builder()
                .put("path.home", home)
                .put("path.data", args[2])
                .put("path.logs", logs)
                .put("cluster.name", "lagline")
                .put("node.name", "node-1")
                .put("network.host", "127.0.0.1")
                .put("http.port", args[0])
                .put("transport.port", "0")
                .put("discovery.type", "single-node")
                // A disk that is nearly full for other reasons must not make the indices read-only.
                .put("cluster.routing.allocation.disk.threshold_enabled", false);
        for (int i = 3; i < args.length; i++) {
            String[] setting = args[i].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        System.setProperty("es.logs.base_path", logs.toString());
        System.setProperty("es.logs.cluster_name", "lagline");
        System.setProperty("es.logs.node_name", "node-1");
        LogConfigurator.configureESLogging();
        Environment environment = new Environment(settings.build(), home.resolve("config"));
        LogConfigurator.configureWithoutConfig(environment.settings());

        Node node = new Node(environment);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
