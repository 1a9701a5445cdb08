//! Java: the jar or main class that a virtual machine runs.

use super::script::{is_generic, of_folder};
use super::{Found, base, script};
use crate::process::Facts;

/// Options of `java` that take the next argument (JDK Tool Specifications, "The java Command").
pub(super) const VALUES: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--upgrade-module-path",
    "--limit-modules",
    "--patch-module",
    "--enable-native-access",
    "--source",
];

/// Main classes that are started for another name.
const KNOWN: &[(&str, &str)] = &[
    ("org.apache.catalina.startup.Bootstrap", "tomcat"),
    ("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper"),
    ("org.apache.zookeeper.server.ZooKeeperServerMain", "zookeeper"),
    ("org.apache.cassandra.service.CassandraDaemon", "cassandra"),
    ("org.apache.pulsar.PulsarBrokerStarter", "pulsar"),
    ("org.apache.rocketmq.broker.BrokerStartup", "rocketmq-broker"),
    ("org.apache.rocketmq.namesrv.NamesrvStartup", "rocketmq-namesrv"),
    ("org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch"),
    ("org.opensearch.bootstrap.OpenSearch", "opensearch"),
    ("org.keycloak.quarkus.runtime.KeycloakMain", "keycloak"),
    ("kafka.Kafka", "kafka"),
    ("kafka.docker.KafkaDockerWrapper", "kafka"),
];

/// Main classes that start a program packed beside them: the folder or jar says more.
const LOADERS: &[&str] = &["JarLauncher", "WarLauncher", "PropertiesLauncher", "GradleWrapperMain"];

/// `-Dspring.application.name=…`, then `-jar FILE`, `-m MODULE/CLASS`, a source file or a class.
pub(super) fn find(facts: &Facts) -> Found {
    if let Some(name) = property(facts, "spring.application.name") {
        return Found::Named(name);
    }
    let arguments = facts.arguments.get(1..).unwrap_or_default();
    let mut rest = arguments;
    while let [option, tail @ ..] = rest {
        match option.as_str() {
            "-jar" => {
                let Some(jar) = tail.first() else { return Found::Nothing };
                return of_jar(jar, &facts.folder);
            }
            "-m" | "--module" => {
                let Some(module) = tail.first() else { return Found::Nothing };
                return of_class(module.rsplit('/').next().unwrap_or(module), &facts.folder);
            }
            _ if option.starts_with(['-', '@']) => {
                let takes_next = VALUES.contains(&option.as_str()) && !tail.is_empty();
                rest = if takes_next { &tail[1..] } else { tail };
            }
            class if class.ends_with(".java") => return script::of_path(class, &facts.folder),
            class => return of_class(class, &facts.folder),
        }
    }
    Found::Nothing
}

/// Value of `-DNAME=…` on a Java command line.
pub(super) fn property(facts: &Facts, name: &str) -> Option<String> {
    if base(&facts.executable) != "java" {
        return None;
    }
    let mut values = facts.arguments.iter().filter_map(|arg| {
        arg.strip_prefix("-D")?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
    });
    values.rfind(|value| !value.is_empty())
}

/// `lib/cart-1.4.2-SNAPSHOT.jar` → `cart`; `cart/app.jar` → `cart`.
fn of_jar(jar: &str, folder: &str) -> Found {
    let file = base(jar);
    let stem = file.strip_suffix(".jar").or_else(|| file.strip_suffix(".war")).unwrap_or(file);
    let version = stem.char_indices().find(|(at, c)| {
        let next = stem[at + c.len_utf8()..].chars().next();
        matches!(c, '-' | '_') && next.is_some_and(|c| c.is_ascii_digit())
    });
    let name = version.map_or(stem, |(at, _)| &stem[..at]);
    if !is_generic(name) && !name.is_empty() {
        return Found::named(name);
    }
    match of_folder(jar.strip_suffix(file).unwrap_or_default(), folder) {
        Found::Nothing => Found::Bare(name.to_owned()),
        named => named,
    }
}

/// `com.acme.Cart` → `Cart`; `com.acme.cart.Main` → `cart`.
fn of_class(class: &str, folder: &str) -> Found {
    if let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == class) {
        return Found::named(*name);
    }
    let mut parts = class.split('.').rev();
    let last = parts.next().unwrap_or(class);
    if !is_generic(last) && !LOADERS.contains(&last) {
        return Found::named(last);
    }
    let package = parts.find(|part| !is_generic(part)).filter(|_| !LOADERS.contains(&last));
    match package {
        Some(package) => Found::named(package),
        None => match of_folder("", folder) {
            Found::Nothing => Found::Bare(last.to_owned()),
            named => named,
        },
    }
}
