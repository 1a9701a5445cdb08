//! Servers from Maven: Kafka, a server that speaks MongoDB's protocol, Cassandra.

use std::process::Command;

use anyhow::Result;

use super::setting::Setting;
use super::{SERVER as BASE, Server, python, tools};
use crate::child::Kept;

pub const MONGO: Server = Server {
    name: "mongo-java",
    protocol: "mongodb",
    maven: Some("mongo"),
    long: true,
    start: |setting| {
        let mut command = tools::java("mongo")?;
        command.args(["Server", &setting.port.to_string()]);
        Ok(vec![setting.start("mongo-java-server", &mut command)?])
    },
    client: |_| Ok(python::program("mongo_client.py")),
    // The library watches its servers, and a new connection counts once.
    background: &["hello", "isMaster", "ismaster", "endSessions", "aggregate"],
    ..BASE
};

pub const KAFKA: Server = Server {
    name: "kafka",
    protocol: "kafka",
    maven: Some("kafka"),
    long: true,
    start: kafka,
    client: |_| Ok(python::program("kafka_client.py")),
    // The library keeps itself informed, and broker and controller talk to each other.
    background: &[
        "ApiVersions",
        "Metadata",
        "FindCoordinator",
        "InitProducerId",
        "poll",
        "Envelope",
        "BrokerHeartbeat",
    ],
    ..BASE
};

/// Each message is taken before the next is sent.
pub const KAFKA_CONSUMER: Server = Server {
    name: "kafka-consumer",
    client: |_| {
        let mut command: Command = python::program("kafka_client.py");
        command.args(["--kind", "consume"]);
        Ok(command)
    },
    background: &[
        "ApiVersions",
        "Metadata",
        "FindCoordinator",
        "InitProducerId",
        "Envelope",
        "BrokerHeartbeat",
    ],
    ..KAFKA
};

const OF_KAFKA: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:OTHER
listeners=PLAINTEXT://127.0.0.1:PORT,CONTROLLER://127.0.0.1:OTHER
advertised.listeners=PLAINTEXT://127.0.0.1:PORT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=FOLDER/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.partitions=1
";

fn kafka(setting: &Setting) -> Result<Vec<Kept>> {
    let config = setting.write("server.properties", OF_KAFKA)?;
    let mut format = tools::java("kafka")?;
    format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg"]);
    setting.run(format.args(["-c", &config]))?;
    let mut command = tools::java("kafka")?;
    command.args(["-Xmx512m", tools::QUIET, "kafka.Kafka"]);
    Ok(vec![setting.start("kafka", command.arg(&config))?])
}

pub const CASSANDRA: Server = Server {
    name: "cassandra",
    protocol: "cassandra",
    maven: Some("cassandra"),
    long: true,
    start: cassandra,
    client: |_| Ok(python::program("cassandra_client.py")),
    // The library learns what there is.
    background: &["OPTIONS", "REGISTER", "SELECT system", "USE"],
    ..BASE
};

const OF_CASSANDRA: &str = "
cluster_name: probe
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 10000ms
data_file_directories: [FOLDER/data]
commitlog_directory: FOLDER/commitlog
saved_caches_directory: FOLDER/caches
hints_directory: FOLDER/hints
cdc_raw_directory: FOLDER/cdc
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: OTHER
native_transport_port: PORT
start_native_transport: true
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: \"127.0.0.1:OTHER\"}]
";

/// What it reaches into, in the virtual machine.
const EXPORTED: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.rmi/sun.rmi.transport.tcp",
    "java.management/com.sun.jmx.remote.security",
];
const OPENED: &[&str] = &[
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.lang",
    "jdk.management/com.sun.management.internal",
    "java.rmi/sun.rmi.transport.tcp",
    "java.base/java.nio.file.attribute",
];

fn cassandra(setting: &Setting) -> Result<Vec<Kept>> {
    let config = setting.write("cassandra.yaml", OF_CASSANDRA)?;
    let mut command: Command = tools::java("cassandra")?;
    for (option, names) in [("--add-exports", EXPORTED), ("--add-opens", OPENED)] {
        for name in names {
            command.arg(option).arg(format!("{name}=ALL-UNNAMED"));
        }
    }
    let agent = tools::jar("cassandra", "jamm")?;
    command.args(["-Xms512m", "-Xmx512m", "-Djdk.attach.allowAttachSelf=true"]);
    command.arg(format!("-javaagent:{}", agent.display()));
    command.arg(format!("-Dcassandra.config=file://{config}"));
    command.arg(format!("-Dcassandra.storagedir={}", setting.path("storage")));
    command.arg(format!("-Dcassandra.logdir={}", setting.path("logs")));
    command.args(["-Dcassandra-foreground=yes", "-Dcassandra.superuser_setup_delay_ms=0"]);
    command.arg("-Dcassandra.skip_wait_for_gossip_to_settle=0");
    command.arg("org.apache.cassandra.service.CassandraDaemon");
    Ok(vec![setting.start("cassandra", &mut command)?])
}
