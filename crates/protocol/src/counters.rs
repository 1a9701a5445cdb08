//! Counters of the stage: everything that was dropped, skipped or resynchronised.

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// What the stage counted since it was made.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $field: u64,)*
        }

        impl Counters {
            /// Every counter with its name, in a fixed order.
            pub(crate) fn each(&self, out: &mut dyn FnMut(&'static str, u64)) {
                $(out($name, self.$field);)*
            }
        }
    };
}

counters! {
    /// Calls that moved bytes.
    calls => "protocol_calls_total",
    /// Messages given out.
    messages => "protocol_messages_total",
    /// Connections dropped because the table was full.
    evicted => "protocol_connections_evicted_total",
    /// Connections whose protocol became known.
    recognised => "protocol_recognised_total",
    /// Guesses that were taken back.
    misrecognised => "protocol_misrecognised_total",
    /// Holes between calls that nothing filled in time.
    gaps => "protocol_gaps_total",
    /// Bytes in those holes.
    gap_bytes => "protocol_gap_bytes_total",
    /// Calls that came again, wholly or in part; what was known of them was dropped.
    duplicates => "protocol_duplicate_calls_total",
    /// Calls held back because one before them was missing.
    reordered => "protocol_reordered_calls_total",
    /// Times when calls were let go because too many bytes were held back.
    reorder_full => "protocol_reorder_full_total",
    /// Calls whose missing end the parser wanted.
    cut => "protocol_cut_calls_total",
    /// Times when a direction found the start of a message again.
    resynchronised => "protocol_resynchronised_total",
    /// Bytes passed over while looking for a start.
    unsynchronised_bytes => "protocol_unsynchronised_bytes_total",
    /// Bytes a parser did not recognise.
    not_mine => "protocol_not_mine_total",
    /// Messages of which nothing could be told when bytes were lost.
    lost_messages => "protocol_lost_messages_total",
    /// Answers given to nobody: after a loss it is not known what they answer.
    stray_answers => "protocol_stray_answers_total",
    /// Messages dropped because too many were open in one direction.
    open_full => "protocol_open_messages_dropped_total",
    /// Datagrams that were of the socket's protocol and could not be parsed.
    bad_datagrams => "protocol_bad_datagrams_total",
    /// Responses given out before a request that was still on its way.
    unordered_responses => "protocol_unordered_responses_total",
    /// Demands sent to capture.
    demands => "protocol_demands_total",
}
