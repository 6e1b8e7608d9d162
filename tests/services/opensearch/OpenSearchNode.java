import static org.codelibs.opensearch.runner.OpenSearchRunner.newConfigs;

import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on the loopback address: {@code OpenSearchNode HTTP_PORT DIRECTORY [setting=value ...]}. */
public final class OpenSearchNode {
    public static void main(String[] args) throws Exception {
        String port = args[0];
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.setMaxHttpPort(65535); // its own limit is just above its default port
        runner.onBuild((number, settings) -> {
            settings.put("http.port", port);
            settings.put("http.host", "127.0.0.1");
            settings.put("network.host", "127.0.0.1");
            settings.put("transport.host", "127.0.0.1");
            settings.put("transport.port", "0");
            settings.put("discovery.type", "single-node");
            // A disk that is nearly full for other reasons must not make the indices read-only.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
            for (int i = 2; i < args.length; i++) {
                String[] setting = args[i].split("=", 2);
                settings.put(setting[0], setting[1]);
            }
        });
        // Added before the start, so that a SIGTERM during it closes what there is.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(runner)));
        runner.build(newConfigs().numOfNode(1).clusterName("lagline").basePath(args[1])
                .baseHttpPort(Integer.parseInt(port)));
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void close(OpenSearchRunner runner) {
        try {
            runner.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
