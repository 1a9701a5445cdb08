//! Api: what is known of each api key (protocol guide, "The Messages").

/// Newer versions than are known here are believed as well: requests get fields at their ends.
const VERSIONS_TO_COME: i16 = 2;

/// Where a response keeps its first error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorAt {
    /// At its front.
    Front,
    /// After the throttle time, which it has since this version.
    Throttle(i16),
    /// In its topics or groups; `response.rs` knows how.
    Topics,
    /// Nowhere, or not looked for.
    None,
}

/// One api key.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) name: &'static str,
    /// Newest version that is known.
    version_max: i16,
    /// First version with compact lengths and tagged fields.
    flexible: i16,
    pub(super) error: ErrorAt,
    /// Whether the request begins with the name of a consumer group.
    pub(super) has_group: bool,
    /// Whether what it says must not be kept.
    pub(super) is_secret: bool,
}

impl Api {
    pub(super) fn by_key(key: i16) -> Option<&'static Self> {
        let index = API.binary_search_by_key(&key, |api| api.key).ok()?;
        API.get(index)
    }

    pub(super) fn has_version(&self, version: i16) -> bool {
        (0..=self.version_max + VERSIONS_TO_COME).contains(&version)
    }

    /// Whether the body of this version is known.
    pub(super) fn is_known(&self, version: i16) -> bool {
        version <= self.version_max
    }

    pub(super) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }

    /// Whether the response has tagged fields in its header. `ApiVersions` never has: who asks
    /// can't know yet what the server speaks (KIP-511).
    pub(super) fn tags_response(&self, version: i16) -> bool {
        self.is_flexible(version) && self.key != key::API_VERSIONS
    }
}

/// Keys that the parser treats apart.
pub(super) mod key {
    pub(in super::super) const PRODUCE: i16 = 0;
    pub(in super::super) const FETCH: i16 = 1;
    pub(in super::super) const LIST_OFFSETS: i16 = 2;
    pub(in super::super) const METADATA: i16 = 3;
    pub(in super::super) const CONTROLLED_SHUTDOWN: i16 = 7;
    pub(in super::super) const OFFSET_COMMIT: i16 = 8;
    pub(in super::super) const OFFSET_FETCH: i16 = 9;
    pub(in super::super) const FIND_COORDINATOR: i16 = 10;
    pub(in super::super) const SASL_HANDSHAKE: i16 = 17;
    pub(in super::super) const API_VERSIONS: i16 = 18;
    pub(in super::super) const CREATE_TOPICS: i16 = 19;
    pub(in super::super) const DELETE_TOPICS: i16 = 20;
}

const NEVER: i16 = i16::MAX;

const fn api(key: i16, name: &'static str, versions: (i16, i16), error: ErrorAt) -> Api {
    let (version_max, flexible) = versions;
    Api { key, name, version_max, flexible, error, has_group: false, is_secret: false }
}

const fn group(key: i16, name: &'static str, versions: (i16, i16), error: ErrorAt) -> Api {
    Api { has_group: true, ..api(key, name, versions, error) }
}

const fn secret(key: i16, name: &'static str, versions: (i16, i16), error: ErrorAt) -> Api {
    Api { is_secret: true, ..api(key, name, versions, error) }
}

use ErrorAt::{Front, None as Nowhere, Throttle, Topics};

/// By key: newest version, first flexible version, place of the error.
const API: &[Api] = &[
    api(0, "Produce", (13, 9), Topics),
    api(1, "Fetch", (18, 12), Topics),
    api(2, "ListOffsets", (11, 6), Topics),
    api(3, "Metadata", (13, 9), Topics),
    api(4, "LeaderAndIsr", (7, 4), Front),
    api(5, "StopReplica", (4, 2), Front),
    api(6, "UpdateMetadata", (8, 6), Front),
    api(7, "ControlledShutdown", (3, 3), Front),
    group(8, "OffsetCommit", (10, 8), Topics),
    api(9, "OffsetFetch", (10, 6), Nowhere),
    api(10, "FindCoordinator", (6, 3), Topics),
    group(11, "JoinGroup", (9, 6), Throttle(2)),
    group(12, "Heartbeat", (4, 4), Throttle(1)),
    group(13, "LeaveGroup", (5, 4), Throttle(1)),
    group(14, "SyncGroup", (5, 4), Throttle(1)),
    api(15, "DescribeGroups", (6, 5), Nowhere),
    api(16, "ListGroups", (5, 3), Throttle(1)),
    api(17, "SaslHandshake", (1, NEVER), Front),
    api(18, "ApiVersions", (5, 3), Front),
    api(19, "CreateTopics", (7, 5), Topics),
    api(20, "DeleteTopics", (6, 4), Topics),
    api(21, "DeleteRecords", (2, 2), Nowhere),
    api(22, "InitProducerId", (6, 2), Throttle(0)),
    api(23, "OffsetForLeaderEpoch", (4, 4), Nowhere),
    api(24, "AddPartitionsToTxn", (5, 3), Nowhere),
    api(25, "AddOffsetsToTxn", (4, 3), Throttle(0)),
    api(26, "EndTxn", (5, 3), Throttle(0)),
    api(27, "WriteTxnMarkers", (2, 1), Nowhere),
    api(28, "TxnOffsetCommit", (5, 3), Nowhere),
    api(29, "DescribeAcls", (3, 2), Throttle(0)),
    api(30, "CreateAcls", (3, 2), Nowhere),
    api(31, "DeleteAcls", (3, 2), Nowhere),
    api(32, "DescribeConfigs", (4, 4), Nowhere),
    secret(33, "AlterConfigs", (2, 2), Nowhere),
    api(34, "AlterReplicaLogDirs", (2, 2), Nowhere),
    api(35, "DescribeLogDirs", (5, 2), Nowhere),
    secret(36, "SaslAuthenticate", (2, 2), Front),
    api(37, "CreatePartitions", (3, 2), Nowhere),
    secret(38, "CreateDelegationToken", (3, 2), Front),
    secret(39, "RenewDelegationToken", (2, 2), Front),
    secret(40, "ExpireDelegationToken", (2, 2), Front),
    secret(41, "DescribeDelegationToken", (3, 2), Front),
    api(42, "DeleteGroups", (2, 2), Nowhere),
    api(43, "ElectLeaders", (2, 2), Nowhere),
    secret(44, "IncrementalAlterConfigs", (1, 1), Nowhere),
    api(45, "AlterPartitionReassignments", (1, 0), Nowhere),
    api(46, "ListPartitionReassignments", (0, 0), Throttle(0)),
    group(47, "OffsetDelete", (0, NEVER), Front),
    api(48, "DescribeClientQuotas", (1, 1), Throttle(0)),
    api(49, "AlterClientQuotas", (1, 1), Nowhere),
    api(50, "DescribeUserScramCredentials", (0, 0), Throttle(0)),
    secret(51, "AlterUserScramCredentials", (0, 0), Nowhere),
    api(52, "Vote", (2, 0), Front),
    api(53, "BeginQuorumEpoch", (1, 1), Front),
    api(54, "EndQuorumEpoch", (1, 1), Front),
    api(55, "DescribeQuorum", (2, 0), Front),
    api(56, "AlterPartition", (3, 0), Throttle(0)),
    api(57, "UpdateFeatures", (2, 0), Throttle(0)),
    secret(58, "Envelope", (0, 0), Nowhere),
    api(59, "FetchSnapshot", (1, 0), Throttle(0)),
    api(60, "DescribeCluster", (2, 0), Throttle(0)),
    api(61, "DescribeProducers", (0, 0), Nowhere),
    api(62, "BrokerRegistration", (4, 0), Throttle(0)),
    api(63, "BrokerHeartbeat", (2, 0), Throttle(0)),
    api(64, "UnregisterBroker", (0, 0), Throttle(0)),
    api(65, "DescribeTransactions", (0, 0), Nowhere),
    api(66, "ListTransactions", (2, 0), Throttle(0)),
    api(67, "AllocateProducerIds", (0, 0), Throttle(0)),
    group(68, "ConsumerGroupHeartbeat", (1, 0), Throttle(0)),
    api(69, "ConsumerGroupDescribe", (1, 0), Nowhere),
    api(70, "ControllerRegistration", (0, 0), Throttle(0)),
    api(71, "GetTelemetrySubscriptions", (0, 0), Throttle(0)),
    api(72, "PushTelemetry", (0, 0), Throttle(0)),
    api(73, "AssignReplicasToDirs", (0, 0), Throttle(0)),
    api(74, "ListConfigResources", (1, 0), Throttle(0)),
    api(75, "DescribeTopicPartitions", (0, 0), Nowhere),
    group(76, "ShareGroupHeartbeat", (1, 0), Throttle(0)),
    api(77, "ShareGroupDescribe", (1, 0), Nowhere),
    group(78, "ShareFetch", (2, 0), Throttle(0)),
    group(79, "ShareAcknowledge", (2, 0), Throttle(0)),
    api(80, "AddRaftVoter", (1, 0), Throttle(0)),
    api(81, "RemoveRaftVoter", (0, 0), Throttle(0)),
    api(82, "UpdateRaftVoter", (0, 0), Throttle(0)),
    group(83, "InitializeShareGroupState", (0, 0), Nowhere),
    group(84, "ReadShareGroupState", (0, 0), Nowhere),
    group(85, "WriteShareGroupState", (1, 0), Nowhere),
    group(86, "DeleteShareGroupState", (0, 0), Nowhere),
    group(87, "ReadShareGroupStateSummary", (1, 0), Nowhere),
    group(88, "StreamsGroupHeartbeat", (1, 0), Throttle(0)),
    api(89, "StreamsGroupDescribe", (1, 0), Nowhere),
    api(90, "DescribeShareGroupOffsets", (1, 0), Nowhere),
    group(91, "AlterShareGroupOffsets", (0, 0), Nowhere),
    group(92, "DeleteShareGroupOffsets", (0, 0), Nowhere),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_found() {
        assert!(API.is_sorted_by_key(|api| api.key));
        assert_eq!(Api::by_key(key::FETCH).map(|api| api.name), Some("Fetch"));
        assert!(Api::by_key(93).is_none() && Api::by_key(-1).is_none());
    }
}
