//! Counters: what a capture held, and what of it could not be used.

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// What a capture held, and what of it could not be used.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $field: u64,)*
        }

        impl Counters {
            /// Tells each counter with its value.
            pub(super) fn tell(&self, out: &mut dyn FnMut(&'static str, u64)) {
                $(out($name, self.$field);)*
            }
        }
    };
}

counters! {
    /// Packets in the file.
    packets => "pcap_packets_total",
    /// Packets shorter in the file than on the wire.
    cut => "pcap_packets_cut_total",
    /// Packets cut before the end of their headers.
    headless => "pcap_packets_headless_total",
    /// Packets of a link type that is not read.
    unknown_link => "pcap_packets_unknown_link_total",
    /// Packets that are not IP, or neither TCP nor UDP.
    other => "pcap_packets_other_total",
    /// Fragments of IP packets; they are not put together.
    fragments => "pcap_fragments_total",
    /// Connections that were found or opened.
    connections => "pcap_connections_total",
    /// Connections whose server was guessed from the ports.
    guessed => "pcap_connections_guessed_total",
    /// Connection attempts that were refused: no server has a socket for them.
    refused => "pcap_connections_refused_total",
    /// Connections forgotten because too many were open.
    evicted => "pcap_connections_evicted_total",
    /// TCP segments that held nothing new, and datagrams seen twice.
    repeated => "pcap_packets_repeated_total",
    /// TCP segments after the end of their connection, or resets of unknown ones.
    stray => "pcap_packets_stray_total",
    /// Holes of TCP streams that were given up because there were too many.
    holes_dropped => "pcap_holes_dropped_total",
    /// Packets that the capturing side dropped before it wrote the first.
    lost_before_first => "pcap_lost_before_first_total",
}
