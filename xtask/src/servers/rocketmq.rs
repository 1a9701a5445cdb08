//! RocketMQ from Maven: a name server and a broker in one process.

use anyhow::Result;

use super::setting::{Setting, serves};
use super::{SERVER as BASE, Server, tools};
use crate::child::Kept;

pub const SERVER: Server = Server {
    name: "rocketmq",
    protocol: "rocketmq",
    maven: Some("rocketmq"),
    long: true,
    start,
    client: |_| {
        let mut command = tools::java("rocketmq")?;
        command.args(["-Xmx256m", "Client"]);
        Ok(command)
    },
    // Client, broker and name server keep each other informed; the latter seeks itself where it does not
    // listen.
    background: &[
        "HEART_BEAT",
        "GET_ROUTEINFO_BY_TOPIC",
        "UPDATE_AND_CREATE_TOPIC",
        "REGISTER_BROKER",
        "BROKER_HEARTBEAT",
        "NOTIFY_CONSUMER_IDS_CHANGED",
        "QUERY_DATA_VERSION",
        "GET_BROKER_CLUSTER_INFO",
        "connect",
    ],
    ..BASE
};

const OF_NAMES: &str = "
bindAddress=127.0.0.1
listenPort=OTHER
";

const OF_BROKER: &str = "
brokerClusterName=probe
brokerName=probe
brokerId=0
brokerIP1=127.0.0.1
bindAddress=127.0.0.1
listenPort=PORT
namesrvAddr=127.0.0.1:OTHER
autoCreateTopicEnable=true
storePathRootDir=FOLDER/store
storePathCommitLog=FOLDER/store/commitlog
mappedFileSizeCommitLog=67108864
maxMessageSize=65536
timerWheelEnable=false
waitTimeMillsInSendQueue=20000
";

fn start(setting: &Setting) -> Result<Vec<Kept>> {
    let names = setting.write("names.conf", OF_NAMES)?;
    let broker = setting.write("broker.conf", OF_BROKER)?;
    let mut command = tools::java("rocketmq")?;
    // Its logs are written to its home.
    command.arg(format!("-Duser.home={}", setting.path("")));
    command.args(["-Xmx512m", "Server", &setting.path(""), &names, &broker]);
    let kept = setting.start("RocketMQ", &mut command)?;
    serves(setting.other)?;
    Ok(vec![kept])
}
