//! Brokers of Debian with the usual clients: Mosquitto, NATS, RabbitMQ (AMQP 0-9-1 and STOMP).

use std::process::Command;

use anyhow::Result;

use super::setting::{Setting, serves};
use super::{SERVER as BASE, Server, Tls, python, tools};
use crate::certificate::Certificate;
use crate::child::Kept;

pub const MOSQUITTO: Server = Server {
    name: "mosquitto",
    protocol: "mqtt",
    packages: &["mosquitto"],
    start: |setting| mosquitto(setting, ""),
    client: |_| Ok(python::program("mqtt_client.py")),
    ..BASE
};

pub const MOSQUITTO_TLS: Server = Server {
    name: "mosquitto-tls",
    long: true,
    start: |setting| {
        Certificate::make(&setting.folder)?;
        mosquitto(setting, "certfile FOLDER/cert.pem\nkeyfile FOLDER/key.pem\n")
    },
    tls: Some(Tls::Both),
    ..MOSQUITTO
};

fn mosquitto(setting: &Setting, options: &str) -> Result<Vec<Kept>> {
    let config = format!("listener PORT 127.0.0.1\nallow_anonymous true\nuser root\n{options}");
    let config = setting.write("mosquitto.conf", &config)?;
    let mut command = Command::new("mosquitto");
    Ok(vec![setting.start("mosquitto", command.args(["-c", &config]))?])
}

pub const NATS: Server = Server {
    name: "nats",
    protocol: "nats",
    packages: &["nats-server"],
    start: |setting| {
        let port = setting.port.to_string();
        let mut command = Command::new("nats-server");
        Ok(vec![setting.start("nats-server", command.args(["-a", "127.0.0.1", "-p", &port]))?])
    },
    client: |_| Ok(python::program("nats_client.py")),
    ..BASE
};

pub const RABBITMQ: Server = Server {
    name: "rabbitmq",
    protocol: "amqp",
    packages: &["rabbitmq-server"],
    start: |setting| rabbitmq(setting, "listeners.tcp.1 = 127.0.0.1:PORT\n", "[]."),
    client: |_| Ok(python::program("amqp_client.py")),
    ..BASE
};

/// TLS is Erlang's own there.
pub const RABBITMQ_TLS: Server = Server {
    name: "rabbitmq-tls",
    long: true,
    start: |setting| {
        Certificate::make(&setting.folder)?;
        let config = "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:PORT\n\
                      ssl_options.certfile = FOLDER/cert.pem\nssl_options.keyfile = FOLDER/key.pem\n";
        rabbitmq(setting, config, "[].")
    },
    tls: Some(Tls::Client),
    ..RABBITMQ
};

pub const RABBITMQ_NODE_TLS: Server = Server {
    name: "rabbitmq-node-tls",
    long: true,
    client: |_| tools::node("amqp_client.cjs"),
    ..RABBITMQ_TLS
};

pub const RABBITMQ_C_TLS: Server = Server {
    name: "rabbitmq-c-tls",
    long: true,
    client: |_| tools::c("amqp", &["-lrabbitmq"], &["librabbitmq-dev"]),
    ..RABBITMQ_TLS
};

pub const RABBITMQ_STOMP: Server = Server {
    name: "rabbitmq-stomp",
    protocol: "stomp",
    packages: &["rabbitmq-server"],
    start: |setting| {
        let config = "listeners.tcp.1 = 127.0.0.1:OTHER\nstomp.listeners.tcp.1 = 127.0.0.1:PORT\n";
        rabbitmq(setting, config, "[rabbitmq_stomp].")
    },
    client: |_| Ok(python::program("stomp_client.py")),
    ..BASE
};

/// One node, with a port mapper of its own.
fn rabbitmq(setting: &Setting, config: &str, plugins: &str) -> Result<Vec<Kept>> {
    let config = setting.write("rabbitmq.conf", config)?;
    let plugins = setting.write("plugins", plugins)?;
    let [mapper, distribution] = crate::child::free_ports()?;
    let variables = [
        ("HOME", setting.path("")),
        ("RABBITMQ_NODENAME", "probe@localhost".to_owned()),
        ("RABBITMQ_CONFIG_FILE", config),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", plugins),
        ("RABBITMQ_MNESIA_BASE", setting.path("data")),
        ("RABBITMQ_LOG_BASE", setting.path("logs")),
        ("RABBITMQ_PID_FILE", setting.path("pid")),
        ("RABBITMQ_DIST_PORT", distribution.to_string()),
        ("ERL_EPMD_PORT", mapper.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
    ];
    let port = mapper.to_string();
    let epmd = setting.start("epmd", Command::new("epmd").args(["-port", &port]))?;
    serves(mapper)?;
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    Ok(vec![setting.start("rabbitmq", command.envs(variables))?, epmd])
}
