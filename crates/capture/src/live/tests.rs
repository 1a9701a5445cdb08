//! The layout of records and maps is what the object's BTF says.

use std::collections::BTreeMap;

use deeptrace_model::{ConnectionId, Demand, Direction};
use libbpf_rs::btf::types::{MemberAttr, Struct};
use libbpf_rs::btf::{Btf, BtfType, HasSize};

use super::kernel::{Knobs, policy};
use super::runtime::Runtime;
use super::{follow, record};

/// Bytes of a hand-over's record.
const HANDOVER: usize = 56;

/// Offsets in bytes of the members of a struct, and its size under the name `""`.
fn layout(btf: &Btf<'_>, name: &str) -> BTreeMap<String, usize> {
    let all = (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<BtfType<'_>>(id.into()));
    let mut structs = all.filter_map(|ty| Struct::try_from(ty).ok());
    let found = structs.find(|s| s.name().is_some_and(|n| n == name)).expect(name);
    let mut offsets = BTreeMap::from([(String::new(), found.size())]);
    for member in found.iter() {
        if let (Some(name), MemberAttr::Normal { offset }) = (member.name, member.attr) {
            offsets.insert(name.to_string_lossy().into_owned(), offset as usize / 8);
        }
    }
    offsets
}

#[test]
fn offsets_agree_with_the_kernel_object() {
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/deeptrace.bpf.o");
    let btf = Btf::from_path(object).unwrap();
    let table: &[(&str, &[(&str, usize)])] = &[
        (
            "dt_header",
            &[
                ("", 32),
                ("time", 0),
                ("cookie", 8),
                ("pid", 16),
                ("tid", 20),
                ("kind", 24),
                ("errno_", 26),
                ("len", 28),
            ],
        ),
        (
            "dt_call",
            &[
                ("", record::CALL),
                ("start", 32),
                ("copied", 40),
                ("flags", 44),
                ("peer_port", 46),
                ("peer", 48),
                ("payload", 64),
            ],
        ),
        (
            "dt_open",
            &[
                ("", record::OPEN),
                ("local", 32),
                ("remote", 48),
                ("local_port", 64),
                ("remote_port", 66),
                ("transport", 68),
                ("connected", 69),
                ("fresh", 70),
                ("sent", 72),
                ("received", 80),
                ("netns", 88),
                ("cgroup", 96),
                ("unix_self", 104),
                ("unix_peer", 112),
                ("comm", 120),
                ("local_path", 136),
                ("remote_path", 244),
            ],
        ),
        ("dt_handover", &[("", HANDOVER), ("from", 32), ("to", 40), ("word", 48)]),
        (
            "dt_follow",
            &[
                ("", follow::bytes(&Runtime::default(), true).len()),
                ("wakes", 0),
                ("runtime", 4),
                ("slot", 8),
                ("at", 16),
                ("reads", follow::COUNTS),
                ("misses", follow::COUNTS + 8),
                ("hits", follow::COUNTS + 16),
            ],
        ),
        (
            "dt_knobs",
            &[
                ("", Knobs::default().bytes().len()),
                ("watch_default", 0),
                ("bytes_default", 4),
                ("bytes_max", 8),
                ("paused", 12),
                ("policy_generation", 16),
                ("ports_count", 20),
                ("ports", 24),
                ("tls", 40),
            ],
        ),
        ("dt_records", &[("flags", 32), ("missed", 36), ("records", record::RECORDS)]),
        ("dt_tls_record", &[("", record::TLS_RECORD), ("position", 0), ("len", 4), ("type", 6)]),
        (
            "dt_plaintext",
            &[
                ("session", 32),
                ("copied", 40),
                ("flags", 44),
                ("sockets", 45),
                ("asked", 48),
                ("unit", 56),
                ("payload", record::CALL),
            ],
        ),
    ];
    for (name, members) in table {
        let layout = layout(&btf, name);
        for (member, offset) in *members {
            assert_eq!(layout.get(*member), Some(offset), "{name}.{member}");
        }
    }
    let skip_until = Some((Direction::Sent, 7));
    let demand =
        Demand { connection: ConnectionId(1), plaintext: false, bytes_per_call: 3, skip_until };
    let bytes = policy(&demand);
    assert_eq!(bytes.len(), layout(&btf, "dt_policy")[""]);
    assert_eq!((bytes[0], bytes[4], bytes[16]), (3, 2, 7));
}

#[test]
fn a_record_ends_with_its_payload() {
    let mut call = [0; record::CALL + 64];
    call[24] = 2;
    call[40] = 3;
    assert_eq!(record::used(&call).len(), record::CALL + 3);
    call[40] = 65;
    assert_eq!(record::used(&call), call, "what cannot be is left to `decode`");
    call[24] = 3;
    assert_eq!(record::used(&call), call);
    assert_eq!(record::used(&call[..32]), &call[..32]);
}

#[test]
fn short_and_unknown_records_are_refused() {
    assert_eq!(record::decode(&[0; 31]), None);
    assert_eq!(record::decode(&[0; 32]), None);
    let mut call = [0; record::CALL];
    call[24] = 2;
    assert!(record::decode(&call).is_some());
    call[40] = 1;
    assert_eq!(record::decode(&call), None);
    let mut handover = [0; HANDOVER];
    (handover[24], handover[26]) = (20, 1);
    assert!(record::decode(&handover).is_some());
    assert_eq!(record::decode(&handover[..HANDOVER - 1]), None);
    handover[26] = 99;
    assert_eq!(record::decode(&handover), None);
}
