import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.apache.lucene.util.Version;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.Metadata;
import org.elasticsearch.cluster.metadata.MetadataIndexTemplateService;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.compress.CompressedXContent;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.common.xcontent.XContentHelper;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.IndexMode;
import org.elasticsearch.index.IndexSettingProvider;
import org.elasticsearch.index.IndexSettings;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentType;

/**
 * Stands in for the two modules of a distribution that Maven Central does not have, as far as lagline meets them:
 *
 * <ul>
 *   <li>main: {@code GET /}
 *   <li>data-streams: {@code GET /_data_stream/NAME}; the settings {@code index.look_back_time} and
 *       {@code index.look_ahead_time}; start time, end time and routing path of a time series index
 * </ul>
 *
 * The data streams and the time series indices themselves are the server's own. What is missing: moving the end
 * time of the newest index forward (a distribution does that every five minutes), lifecycle, downsampling.
 */
public final class MissingModules extends Plugin implements ActionPlugin {
    private static final Setting<TimeValue> LOOK_BACK_TIME = Setting.timeSetting("index.look_back_time",
            TimeValue.timeValueHours(2), TimeValue.timeValueMinutes(1), TimeValue.timeValueDays(7),
            Setting.Property.IndexScope, Setting.Property.Dynamic);
    private static final Setting<TimeValue> LOOK_AHEAD_TIME = Setting.timeSetting("index.look_ahead_time",
            TimeValue.timeValueMinutes(30), TimeValue.timeValueMinutes(1), TimeValue.timeValueHours(2),
            Setting.Property.IndexScope, Setting.Property.Dynamic);

    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public List<Setting<?>> getSettings() {
        return List.of(LOOK_BACK_TIME, LOOK_AHEAD_TIME);
    }

    @Override
    public Collection<RestHandler> getRestHandlers(Settings settings, NamedWriteableRegistry writeables,
            RestController controller, ClusterSettings clusterSettings, IndexScopedSettings indexSettings,
            SettingsFilter filter, IndexNameExpressionResolver names, Supplier<DiscoveryNodes> nodes,
            Predicate<NodeFeature> features) {
        return List.of(new GetRoot(), new GetDataStream());
    }

    @Override
    public Collection<IndexSettingProvider> getAdditionalIndexSettingProviders(
            IndexSettingProvider.Parameters parameters) {
        return List.of(MissingModules::timeSeriesSettings);
    }

    private static Settings timeSeriesSettings(String index, String stream, IndexMode templateMode,
            Metadata metadata, Instant now, Settings settings, List<CompressedXContent> mappings) {
        IndexMode mode = templateMode != null ? templateMode : IndexSettings.MODE.get(settings);
        if (stream == null || mode != IndexMode.TIME_SERIES) {
            return Settings.EMPTY;
        }
        Settings.Builder added = Settings.builder();
        if (!settings.hasValue("index.time_series.start_time")) {
            addTimes(added, metadata, stream, now, settings);
        }
        if (!settings.hasValue("index.routing_path")) {
            Set<String> dimensions = new TreeSet<>();
            for (CompressedXContent mapping : mappings) {
                collectDimensions("", read(mapping), dimensions);
            }
            if (!dimensions.isEmpty()) {
                added.putList("index.routing_path", List.copyOf(dimensions));
            }
        }
        return added.build();
    }

    /** A stream's indices adjoin: each begins where the one before it ends. */
    private static void addTimes(Settings.Builder added, Metadata metadata, String stream, Instant now,
            Settings settings) {
        Duration ahead = Duration.ofMillis(LOOK_AHEAD_TIME.get(settings).millis());
        Duration back = Duration.ofMillis(LOOK_BACK_TIME.get(settings).millis());
        DataStream existing = metadata.dataStreams().get(stream);
        Instant start = existing == null ? null : metadata.index(existing.getWriteIndex()).getTimeSeriesEnd();
        if (start == null) {
            start = now.minus(back);
        }
        Instant end = start.isAfter(now) ? start.plus(ahead) : now.plus(ahead);
        added.put("index.time_series.start_time", start.truncatedTo(ChronoUnit.SECONDS).toString());
        added.put("index.time_series.end_time", end.truncatedTo(ChronoUnit.SECONDS).toString());
    }

    private static Map<String, Object> read(CompressedXContent mapping) {
        return XContentHelper.convertToMap(mapping.uncompressed(), false, XContentType.JSON).v2();
    }

    @SuppressWarnings("unchecked")
    private static void collectDimensions(String path, Map<String, Object> mapping, Set<String> found) {
        if (mapping.get("_doc") instanceof Map<?, ?> inner) {
            collectDimensions(path, (Map<String, Object>) inner, found);
            return;
        }
        if (!(mapping.get("properties") instanceof Map<?, ?> properties)) {
            return;
        }
        for (Map.Entry<?, ?> property : properties.entrySet()) {
            if (property.getValue() instanceof Map<?, ?> field) {
                String name = path.isEmpty() ? (String) property.getKey() : path + "." + property.getKey();
                if (Boolean.TRUE.equals(field.get("time_series_dimension")) && "keyword".equals(field.get("type"))) {
                    found.add(name);
                }
                collectDimensions(name, (Map<String, Object>) field, found);
            }
        }
    }

    private final class GetRoot extends BaseRestHandler {
        @Override
        public String getName() {
            return "lagline_root";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                XContentBuilder body = channel.newBuilder();
                body.startObject();
                body.field("name", "node-1");
                body.field("cluster_name", cluster.getClusterName().value());
                body.field("cluster_uuid", cluster.state().metadata().clusterUUID());
                body.startObject("version");
                body.field("number", Build.current().version());
                body.field("build_flavor", "default");
                body.field("build_type", "tar");
                body.field("lucene_version", Version.LATEST.toString());
                body.field("minimum_wire_compatibility_version", "7.17.0");
                body.field("minimum_index_compatibility_version", "7.0.0");
                body.endObject();
                body.field("tagline", "You Know, for Search");
                body.endObject();
                channel.sendResponse(new RestResponse(RestStatus.OK, body));
            };
        }
    }

    private final class GetDataStream extends BaseRestHandler {
        @Override
        public String getName() {
            return "lagline_get_data_stream";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/_data_stream"),
                    new Route(RestRequest.Method.GET, "/_data_stream/{name}"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            String pattern = request.param("name", "*");
            return channel -> {
                Metadata metadata = cluster.state().metadata();
                List<DataStream> found = metadata.dataStreams().values().stream()
                        .filter(stream -> Regex.simpleMatch(pattern, stream.getName())).toList();
                XContentBuilder body = channel.newBuilder();
                if (found.isEmpty() && !pattern.contains("*")) {
                    body.startObject().startObject("error");
                    body.field("type", "index_not_found_exception");
                    body.field("reason", "no such index [" + pattern + "]");
                    body.endObject().field("status", 404).endObject();
                    channel.sendResponse(new RestResponse(RestStatus.NOT_FOUND, body));
                    return;
                }
                body.startObject().startArray("data_streams");
                for (DataStream stream : found) {
                    describe(body, metadata, stream);
                }
                body.endArray().endObject();
                channel.sendResponse(new RestResponse(RestStatus.OK, body));
            };
        }

        private static void describe(XContentBuilder body, Metadata metadata, DataStream stream)
                throws IOException {
            body.startObject().field("name", stream.getName());
            body.startObject("timestamp_field").field("name", "@timestamp").endObject();
            body.startArray("indices");
            for (var index : stream.getIndices()) {
                body.startObject().field("index_name", index.getName()).field("index_uuid", index.getUUID())
                        .endObject();
            }
            body.endArray();
            body.field("generation", stream.getGeneration()).field("status", "GREEN");
            body.field("template", MetadataIndexTemplateService.findV2Template(metadata, stream.getName(), false));
            if (stream.getIndexMode() != null) {
                body.field("index_mode", stream.getIndexMode().getName());
            }
            body.endObject();
        }
    }
}
