//! What is seen of each kind of call, socket and end.

use std::collections::BTreeSet;

use deeptrace_capture::live::Hook;
use deeptrace_model::{Endpoint, Origin, Transport};

use crate::driver::SHORT_CONNECTIONS;
use crate::session::{on_each_hook, watch};

#[test]
fn every_way_to_send_and_receive() {
    on_each_hook(|hook| {
        let seen = watch("calls", hook);
        let client = seen.with("write", true).connection;
        let server = seen.with("write", false).connection;
        let texts = ["write", "writev", "send", "sendmsg", "mm-one", "mm-two", ""];
        assert_eq!(seen.texts(client, true), texts, "{hook:?}");
        let texts = ["write", "writev", "send", "sendmsg", "mm-one", "mm-two", "sendfile"];
        assert_eq!(seen.texts(server, false), texts, "{hook:?}");
        let places = |id, sent| seen.of(id, sent).map(|c| (c.start, c.len)).collect::<Vec<_>>();
        let sent = places(client, true);
        assert_eq!(sent, places(server, false), "{hook:?}: both sides see the same positions");
        for two in sent.windows(2) {
            let end = u64::from((two[0].0 as u32).wrapping_add(two[0].1));
            assert_eq!(end, two[1].0, "{hook:?}: {sent:?}");
        }
        assert_eq!(seen.with("write", true).sent, sent[0].0);
        assert_eq!(seen.with("write", false).received, sent[0].0);
    });
}

#[test]
fn addresses_of_both_families() {
    on_each_hook(|hook| {
        let seen = watch("addresses", hook);
        assert_eq!(seen.opens.len(), 4, "{hook:?}");
        for pair in seen.opens.chunks(2) {
            let [client, server] = pair else { panic!("two ends") };
            assert_eq!((client.origin, server.origin), (Origin::Connected, Origin::Accepted));
            assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
            assert_eq!(client.transport, Transport::Tcp);
            assert!(client.netns != 0 && client.netns == server.netns);
        }
        let families: Vec<bool> = seen
            .opens
            .iter()
            .map(|open| matches!(open.local, Endpoint::Inet(address) if address.is_ipv6()))
            .collect();
        assert_eq!(families, [true, true, false, false], "mapped addresses are IPv4");
    });
}

#[test]
fn datagrams_name_their_peers() {
    on_each_hook(|hook| {
        let mut session = crate::session::Session::start("datagrams", hook, |options, _| {
            options.ring_bytes = 64 << 10;
        });
        let detail = session.detail.clone();
        let (server, free) = detail.split_once(' ').unwrap();
        let (server, free) = (server.parse().unwrap(), free.parse().unwrap());
        session.round();
        session.go();
        let seen = session.finish();
        let connected = seen.with("connected", true);
        assert_eq!(connected.transport, Transport::Udp);
        assert_eq!(connected.remote, Endpoint::Inet(server));
        assert_eq!(seen.with("free", true).remote, Endpoint::Unknown);
        let peer = |text: &str, sent| {
            let call = seen.calls.iter().find(|c| c.payload == text && c.sent == sent);
            call.unwrap_or_else(|| panic!("{hook:?}: no {text}")).peer
        };
        assert_eq!(peer("free", true), Some(server));
        assert_eq!(peer("back", true), Some(free));
        assert_eq!((peer("one", true), peer("three", true)), (Some(server), Some(server)));
        // The socket tracepoint comes before the application is told who sent it.
        let told = (hook == Hook::SyscallExit).then_some(free);
        assert_eq!((peer("free", false), peer("three", false)), (told, told), "{hook:?}");
        let counts: Vec<u64> =
            seen.of(seen.with("free", true).connection, true).map(|c| c.start).collect();
        assert_eq!(counts, [0, 1, 2], "{hook:?}");
    });
}

#[test]
fn unix_sockets_know_their_pair() {
    on_each_hook(|hook| {
        let seen = watch("unix", hook);
        let (client, server) = (seen.with("ping", true), seen.with("ping", false));
        assert_eq!((client.origin, server.origin), (Origin::Connected, Origin::FoundServer));
        assert!(matches!(&client.remote, Endpoint::Unix(path) if path.ends_with("/socket")));
        assert_eq!(client.remote, server.local);
        let places = |id, sent| seen.of(id, sent).map(|c| (c.start, c.len)).collect::<Vec<_>>();
        assert_eq!(places(client.connection, true), [(0, 4), (4, 5)]);
        // The last one is the end of the stream.
        assert_eq!(places(server.connection, false), [(0, 4), (4, 5), (9, 0)]);
        let drained: Vec<bool> = seen.of(server.connection, false).map(|c| c.drained).collect();
        assert_eq!(drained, [false, true, true], "{hook:?}");
        for text in ["ping", "pair", "datagram"] {
            let (one, two) = (seen.with(text, true), seen.with(text, false));
            let ((name, first), (same, second)) = (one.unix_pair.unwrap(), two.unix_pair.unwrap());
            assert_eq!((name, first), (same, !second), "{hook:?} {text}");
            assert_ne!(one.connection, two.connection);
        }
        assert_eq!(seen.with("pair", true).transport, Transport::UnixStream);
        assert_eq!(seen.with("datagram", true).transport, Transport::UnixDatagram);
    });
}

#[test]
fn unix_sockets_made_where_others_were_are_told_apart() {
    on_each_hook(|hook| {
        let seen = watch("unix-reuse", hook);
        let mut ends = BTreeSet::new();
        let mut senders = BTreeSet::new();
        for open in &seen.opens {
            match open.unix_pair {
                Some(pair) => assert!(ends.insert(pair), "{hook:?}: {pair:?} again"),
                None => assert!(senders.insert(open.connection), "{hook:?}: {open:?} again"),
            }
        }
        // The receiver has no peer either.
        assert_eq!(senders.len(), SHORT_CONNECTIONS + 1, "{hook:?}");
        assert_eq!(ends.len(), 2 * SHORT_CONNECTIONS, "{hook:?}");
        let pairs: BTreeSet<u64> = ends.iter().map(|(name, _)| *name).collect();
        assert_eq!(pairs.len(), SHORT_CONNECTIONS, "{hook:?}: both ends alike");
    });
}

#[test]
fn ends_are_told_once_and_after_the_last_byte() {
    on_each_hook(|hook| {
        let seen = watch("ends", hook);
        let (client, server) = (seen.with("half", true), seen.with("half", false));
        assert_eq!(seen.texts(server.connection, false), ["half", ""]);
        let late = seen.of(client.connection, false).next().unwrap();
        let sent = seen.of(server.connection, true).next().unwrap();
        assert_eq!((late.payload.as_str(), late.start), ("late", sent.start), "{hook:?}");
        assert_eq!(seen.errors(client.connection), [0], "{hook:?}");
        assert_eq!(seen.errors(server.connection), [0], "{hook:?}");
        let (client, server) = (seen.with("reset", true), seen.with("reset", false));
        assert_eq!(seen.errors(client.connection), [0], "{hook:?}");
        assert_eq!(seen.errors(server.connection), [104], "{hook:?}");
        let refused = seen.opens.last().unwrap();
        assert_eq!(refused.origin, Origin::Connected);
        assert_eq!(seen.errors(refused.connection), [111], "{hook:?}");
        assert_eq!(seen.opens.len(), 5, "{hook:?}: nobody is introduced twice: {seen:#?}");
        assert_eq!(seen.closes.len(), 5, "{hook:?}");
    });
}

#[test]
fn connections_older_than_the_agent() {
    on_each_hook(|hook| {
        let seen = watch("older", hook);
        let (client, server) = (seen.with("after", true), seen.with("after", false));
        assert_eq!((client.origin, server.origin), (Origin::Found, Origin::FoundServer));
        assert_eq!((client.sent, client.received), (server.received, server.sent), "{hook:?}");
        assert_eq!(seen.texts(client.connection, false), ["answer"]);
        assert!(!seen.calls.iter().any(|call| call.payload == "before"));
    });
}

#[test]
fn a_reused_descriptor_is_another_connection() {
    on_each_hook(|hook| {
        let seen = watch("reuse", hook);
        let ids: BTreeSet<_> = seen.calls.iter().map(|call| call.connection).collect();
        assert_eq!((ids.len(), seen.opens.len()), (10, 10), "{hook:?}");
        assert_eq!(seen.closes.len(), 10, "{hook:?}");
        assert!(seen.opens.iter().skip(1).step_by(2).all(|o| o.origin == Origin::Accepted));
        assert_eq!(seen.exits.len(), 1);
    });
}

#[test]
fn io_uring_is_seen_by_the_socket_tracepoints() {
    on_each_hook(|hook| {
        if hook == Hook::SyscallExit {
            return;
        }
        let seen = watch("uring", hook);
        let client = seen.with("ring-send", true).connection;
        let server = seen.with("ring-send", false).connection;
        let texts = ["ring-send", "ring-write", "ring-vector"];
        assert_eq!(seen.texts(client, true), texts);
        assert_eq!(seen.texts(server, false), texts);
    });
}
