//! What is watched, how much of it is copied, and what is counted when it is too much.

use deeptrace_capture::Source;
use deeptrace_capture::service::Names;
use deeptrace_capture::watch::Rules;
use deeptrace_model::{Demand, Direction, LossCause};

use crate::session::{Session, on_each_hook, watch};

/// File name of the executable that plays the scenarios.
fn own_name() -> String {
    std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

fn rules(include: &[&str], exclude: &[&str]) -> Rules {
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Rules { include: list(include), exclude: list(exclude), containers: true, ..Rules::default() }
}

#[test]
fn rules_reach_the_kernel_live() {
    on_each_hook(|hook| {
        let names = Names::new(&[], "test").unwrap();
        let nobody = rules(&["nothing-of-this-name"], &[]);
        let mut session = Session::start("rounds", hook, |options, _| options.rules = nobody);
        assert_eq!(session.round().calls.len(), 0, "{hook:?}: not included");

        let included = rules(&["live-*"], &[]);
        session.live.set_rules(included, names.clone()).unwrap();
        let pid = session.pid();
        // Other tests play at the same time, under the same name.
        let mut seen = session.round();
        seen.calls.retain(|call| call.pid == pid);
        seen.processes.retain(|process| process.key.pid == pid);
        assert_eq!(seen.calls.len(), 4, "{hook:?}: included by a pattern");
        assert_eq!(seen.processes[0].watched_by, "include live-*");

        assert!(!session.live.remove_process(pid).unwrap().watched);
        let seen = session.round();
        assert!(!seen.calls.iter().any(|call| call.pid == pid), "{hook:?}: removed by hand");
        let listed = session.live.processes();
        let own = listed.iter().find(|w| w.process.key.pid == pid).unwrap();
        assert_eq!((own.watched, own.process.watched_by.as_str()), (false, "by hand"));

        session.live.set_rules(rules(&[], &[&own_name()]), names).unwrap();
        assert!(session.live.add_process(pid).unwrap().watched);
        session.go();
        let seen = session.finish();
        let own = seen.calls.iter().filter(|call| call.pid == pid);
        assert_eq!(own.count(), 4, "{hook:?}: by hand beats the rules");
    });
}

#[test]
fn everything_but_what_is_excluded() {
    on_each_hook(|hook| {
        for (exclude, calls) in [(vec![], true), (vec![own_name()], false)] {
            let rules = Rules { exclude: exclude.clone(), containers: true, ..Rules::default() };
            let mut session = Session::start("older", hook, |options, _| options.rules = rules);
            let pid = session.pid();
            session.go();
            let seen = session.finish();
            let own = seen.calls.iter().filter(|call| call.pid == pid).count();
            assert_eq!(own > 0, calls, "{hook:?} {exclude:?}");
        }
    });
}

#[test]
fn children_are_watched_with_their_parent() {
    on_each_hook(|hook| {
        let session = Session::start("family", hook, |_, _| {});
        let parent = session.pid();
        let mut session = session;
        session.go();
        let seen = session.finish();
        assert!(!seen.calls.is_empty(), "{hook:?}");
        assert!(seen.calls.iter().all(|call| call.pid != parent));
        assert_eq!(seen.processes[0].watched_by, format!("child of {}", parent.0), "{hook:?}");
    });
}

#[test]
fn children_that_are_there_follow_what_is_said_by_hand() {
    on_each_hook(|hook| {
        let nobody = rules(&["nothing-of-this-name"], &[]);
        let mut session = Session::start("worker", hook, |options, _| options.rules = nobody);
        let parent = session.pid();
        assert_eq!(session.round().calls.len(), 0, "{hook:?}: nobody is watched");

        session.live.add_process(parent).unwrap();
        let seen = session.round();
        assert_eq!(seen.calls.len(), 4, "{hook:?}: added with its parent");
        let child = &seen.processes[0];
        assert_eq!(child.watched_by, format!("child of {}", parent.0), "{hook:?}");

        session.live.remove_process(parent).unwrap();
        assert_eq!(session.round().calls.len(), 0, "{hook:?}: removed with its parent");
        let pid = child.key.pid;
        assert!(session.live.add_process(pid).unwrap().watched);
        session.go();
        assert_eq!(session.finish().calls.len(), 4, "{hook:?}: added itself");
    });
}

#[test]
fn connections_to_our_own_ports_are_left_out() {
    on_each_hook(|hook| {
        let mut session = Session::start("rounds", hook, |options, port| {
            options.own_ports = vec![port.parse().unwrap()];
        });
        let seen = session.round();
        assert_eq!((seen.opens.len(), seen.calls.len()), (0, 0), "{hook:?}");
    });
}

#[test]
fn as_much_is_copied_as_is_asked_for() {
    on_each_hook(|hook| {
        let mut session = Session::start("rounds", hook, |options, _| options.bytes_default = 256);
        let seen = session.round();
        let call = seen.calls.iter().find(|call| call.sent && call.len == 1000).unwrap();
        assert_eq!(call.payload, "0".repeat(256), "{hook:?}: the default");
        let mut demand = Demand {
            connection: call.connection,
            plaintext: false,
            bytes_per_call: 16384,
            skip_until: None,
        };

        session.live.demand(demand);
        session.drain();
        let copied = |session: &mut Session| {
            let seen = session.round();
            let sizes = |sent| {
                let big = seen.calls.iter().find(|c| c.sent == sent && c.len == 1000).unwrap();
                big.payload.len()
            };
            (sizes(true), sizes(false))
        };
        assert_eq!(copied(&mut session), (1000, 256), "{hook:?}: only the socket asked for");

        let end = u64::from((call.start as u32).wrapping_add(3000));
        demand.skip_until = Some((Direction::Sent, end));
        session.live.demand(demand);
        session.drain();
        assert_eq!(copied(&mut session), (0, 256), "{hook:?}: inside what is skipped");
        session.go();
        let seen = session.finish();
        let last = seen.calls.iter().find(|call| call.sent && call.len == 1000).unwrap();
        assert_eq!(last.payload.len(), 1000, "{hook:?}: behind what is skipped");
    });
}

#[test]
fn losses_are_counted_and_the_application_goes_on() {
    on_each_hook(|hook| {
        let mut session = Session::start("many", hook, |options, _| options.ring_bytes = 64 << 10);
        session.go_unread();
        session.drain();
        let lost: u64 = session.seen.lost.iter().map(|(_, count)| count).sum();
        assert!(session.seen.lost.iter().all(|(cause, _)| *cause == LossCause::RingFull));
        assert_eq!(session.seen.calls.len() as u64 + lost, 4000, "{hook:?}: seen or counted");
        assert!(lost > 1000, "{hook:?}: {lost}");
        session.go();
        let seen = session.finish();
        assert_eq!(seen.calls.last().unwrap().payload, "calm", "{hook:?}");
    });
}

#[test]
fn a_pause_is_a_loss() {
    on_each_hook(|hook| {
        let mut session = Session::start("rounds", hook, |_, _| {});
        session.live.set_paused(true).unwrap();
        let seen = session.round();
        assert_eq!((seen.calls.len(), seen.lost), (0, vec![(LossCause::Paused, 4)]), "{hook:?}");
        session.live.set_paused(false).unwrap();
        assert_eq!(session.round().calls.len(), 4, "{hook:?}");
    });
}

#[test]
fn the_kernel_lists_what_we_loaded() {
    on_each_hook(|hook| {
        let session = Session::start("older", hook, |options, _| options.ring_bytes = 16 << 20);
        let programs = session.live.programs();
        assert!(programs.len() >= 5, "{programs:?}");
        assert!(programs.iter().all(|program| program.name.starts_with("deeptrace")));
        let maps = session.live.maps();
        let bytes: u64 = maps.iter().map(|map| map.memory_bytes).sum();
        assert!((16 << 20..=32 << 20).contains(&bytes), "{bytes} bytes in {maps:?}");
    });
}

#[test]
fn two_agents_at_once_see_the_same() {
    on_each_hook(|hook| {
        let other = Session::start("older", hook, |_, _| {});
        let seen = watch("reuse", hook);
        assert_eq!(seen.opens.len(), 10, "{hook:?}");
        drop(other);
    });
}
