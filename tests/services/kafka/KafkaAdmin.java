import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * What the tests ask of a cluster's administrator and librdkafka's safe interface does not offer.
 *
 * <pre>
 * KafkaAdmin BOOTSTRAP delete-offsets GROUP TOPIC PARTITION
 * KafkaAdmin BOOTSTRAP configure TYPE NAME KEY VALUE             TYPE: topic, group, broker
 * KafkaAdmin BOOTSTRAP allow PRINCIPAL TYPE NAME OPERATION       TYPE: topic, group, cluster
 * KafkaAdmin BOOTSTRAP revoke PRINCIPAL TYPE NAME OPERATION
 * </pre>
 */
public final class KafkaAdmin {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        try (Admin admin = Admin.create(properties)) {
            switch (args[1]) {
                case "delete-offsets" -> admin.deleteConsumerGroupOffsets(args[2],
                        Set.of(new TopicPartition(args[3], Integer.parseInt(args[4])))).all().get();
                case "configure" -> admin.incrementalAlterConfigs(Map.of(
                        new ConfigResource(ConfigResource.Type.valueOf(args[2].toUpperCase()), args[3]),
                        List.of(new AlterConfigOp(new ConfigEntry(args[4], args[5]), AlterConfigOp.OpType.SET))))
                        .all().get();
                case "allow" -> admin.createAcls(List.of(binding(args))).all().get();
                case "revoke" -> admin.deleteAcls(List.of(binding(args).toFilter())).all().get();
                default -> throw new IllegalArgumentException("unknown command " + args[1]);
            }
        }
    }

    private static AclBinding binding(String[] args) {
        ResourceType type = ResourceType.fromString(args[3]);
        AclOperation operation = AclOperation.fromString(args[5]);
        return new AclBinding(new ResourcePattern(type, args[4], PatternType.LITERAL),
                new AccessControlEntry("User:" + args[2], "*", operation, AclPermissionType.ALLOW));
    }
}
