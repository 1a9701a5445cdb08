//! Codes of requests and responses (`RequestCode` and `ResponseCode` of RocketMQ's sources).

use deeptrace_model::Text;

/// A request's code.
pub(super) struct Code {
    pub(super) name: &'static str,
    /// Operation and its type, as OpenTelemetry calls them, where it is one of messaging.
    pub(super) operation: Option<(&'static str, &'static str)>,
}

impl Code {
    /// The name, or the number where that is not known.
    pub(super) fn label(&self, number: i32) -> Text {
        match self.name {
            "" => format!("code {number}").into(),
            name => Text::new_static(name),
        }
    }
}

/// What a request is.
pub(super) fn request(number: i32) -> Code {
    let known = REQUESTS.iter().find(|row| row.0 == number);
    let name = known.map_or("", |row| row.1);
    let operation = match name {
        "SEND_MESSAGE" | "SEND_MESSAGE_V2" | "SEND_BATCH_MESSAGE" => Some(("send", "send")),
        "SEND_REPLY_MESSAGE" | "SEND_REPLY_MESSAGE_V2" => Some(("reply", "send")),
        "PULL_MESSAGE" | "LITE_PULL_MESSAGE" => Some(("pull", "receive")),
        "POP_MESSAGE" => Some(("pop", "receive")),
        "PEEK_MESSAGE" => Some(("peek", "receive")),
        "ACK_MESSAGE" | "BATCH_ACK_MESSAGE" => Some(("ack", "settle")),
        "CONSUMER_SEND_MSG_BACK" => Some(("nack", "settle")),
        "UPDATE_CONSUMER_OFFSET" => Some(("commit", "settle")),
        _ => None,
    };
    Code { name, operation }
}

/// What a response says, and whether that is an error.
pub(super) fn response(number: i32) -> (Text, bool) {
    let known = RESPONSES.iter().find(|row| row.0 == number);
    known.map_or_else(
        || (format!("code {number}").into(), true),
        |row| (Text::new_static(row.1), row.2),
    )
}

const REQUESTS: &[(i32, &str)] = &[
    (10, "SEND_MESSAGE"),
    (11, "PULL_MESSAGE"),
    (12, "QUERY_MESSAGE"),
    (14, "QUERY_CONSUMER_OFFSET"),
    (15, "UPDATE_CONSUMER_OFFSET"),
    (17, "UPDATE_AND_CREATE_TOPIC"),
    (21, "GET_ALL_TOPIC_CONFIG"),
    (25, "UPDATE_BROKER_CONFIG"),
    (26, "GET_BROKER_CONFIG"),
    (28, "GET_BROKER_RUNTIME_INFO"),
    (29, "SEARCH_OFFSET_BY_TIMESTAMP"),
    (30, "GET_MAX_OFFSET"),
    (31, "GET_MIN_OFFSET"),
    (32, "GET_EARLIEST_MSG_STORETIME"),
    (33, "VIEW_MESSAGE_BY_ID"),
    (34, "HEART_BEAT"),
    (35, "UNREGISTER_CLIENT"),
    (36, "CONSUMER_SEND_MSG_BACK"),
    (37, "END_TRANSACTION"),
    (38, "GET_CONSUMER_LIST_BY_GROUP"),
    (39, "CHECK_TRANSACTION_STATE"),
    (40, "NOTIFY_CONSUMER_IDS_CHANGED"),
    (41, "LOCK_BATCH_MQ"),
    (42, "UNLOCK_BATCH_MQ"),
    (46, "CHECK_CLIENT_CONFIG"),
    (100, "PUT_KV_CONFIG"),
    (101, "GET_KV_CONFIG"),
    (103, "REGISTER_BROKER"),
    (104, "UNREGISTER_BROKER"),
    (105, "GET_ROUTEINFO_BY_TOPIC"),
    (106, "GET_BROKER_CLUSTER_INFO"),
    (200, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP"),
    (202, "GET_TOPIC_STATS_INFO"),
    (203, "GET_CONSUMER_CONNECTION_LIST"),
    (204, "GET_PRODUCER_CONNECTION_LIST"),
    (206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER"),
    (208, "GET_CONSUME_STATS"),
    (215, "DELETE_TOPIC_IN_BROKER"),
    (216, "DELETE_TOPIC_IN_NAMESRV"),
    (220, "RESET_CONSUMER_CLIENT_OFFSET"),
    (221, "GET_CONSUMER_STATUS_FROM_CLIENT"),
    (307, "GET_CONSUMER_RUNNING_INFO"),
    (309, "CONSUME_MESSAGE_DIRECTLY"),
    (310, "SEND_MESSAGE_V2"),
    (320, "SEND_BATCH_MESSAGE"),
    (322, "QUERY_DATA_VERSION"),
    (324, "SEND_REPLY_MESSAGE"),
    (325, "SEND_REPLY_MESSAGE_V2"),
    (326, "PUSH_REPLY_MESSAGE_TO_CLIENT"),
    (361, "LITE_PULL_MESSAGE"),
    (400, "QUERY_ASSIGNMENT"),
    (904, "BROKER_HEARTBEAT"),
    (200_050, "POP_MESSAGE"),
    (200_051, "ACK_MESSAGE"),
    (200_052, "PEEK_MESSAGE"),
    (200_053, "CHANGE_MESSAGE_INVISIBLETIME"),
    (200_054, "NOTIFICATION"),
    (200_055, "POLLING_INFO"),
    (200_151, "BATCH_ACK_MESSAGE"),
];

/// Number, name, whether it is an error: nothing found, or look elsewhere, is none.
const RESPONSES: &[(i32, &str, bool)] = &[
    (0, "SUCCESS", false),
    (1, "SYSTEM_ERROR", true),
    (2, "SYSTEM_BUSY", true),
    (3, "REQUEST_CODE_NOT_SUPPORTED", true),
    (4, "TRANSACTION_FAILED", true),
    (10, "FLUSH_DISK_TIMEOUT", true),
    (11, "SLAVE_NOT_AVAILABLE", true),
    (12, "FLUSH_SLAVE_TIMEOUT", true),
    (13, "MESSAGE_ILLEGAL", true),
    (14, "SERVICE_NOT_AVAILABLE", true),
    (15, "VERSION_NOT_SUPPORTED", true),
    (16, "NO_PERMISSION", true),
    (17, "TOPIC_NOT_EXIST", true),
    (18, "TOPIC_EXIST_ALREADY", true),
    (19, "PULL_NOT_FOUND", false),
    (20, "PULL_RETRY_IMMEDIATELY", false),
    (21, "PULL_OFFSET_MOVED", false),
    (22, "QUERY_NOT_FOUND", false),
    (23, "SUBSCRIPTION_PARSE_FAILED", true),
    (24, "SUBSCRIPTION_NOT_EXIST", true),
    (25, "SUBSCRIPTION_NOT_LATEST", true),
    (26, "SUBSCRIPTION_GROUP_NOT_EXIST", true),
    (27, "FILTER_DATA_NOT_EXIST", true),
    (28, "FILTER_DATA_NOT_LATEST", true),
    (200, "TRANSACTION_SHOULD_COMMIT", false),
    (201, "TRANSACTION_SHOULD_ROLLBACK", false),
    (202, "TRANSACTION_STATE_UNKNOW", false),
    (203, "TRANSACTION_STATE_GROUP_WRONG", true),
    (204, "NO_BUYER_ID", true),
    (206, "CONSUMER_NOT_ONLINE", true),
    (207, "CONSUME_MSG_TIMEOUT", true),
    (208, "NO_MESSAGE", false),
    (209, "POLLING_FULL", false),
    (210, "POLLING_TIMEOUT", false),
];
