//! What every backend promises of documents.

use deeptrace_store::{DOCUMENT_BODY_MAX, Document, Expected, StoreError};

use super::{each, open};

#[test]
fn documents_are_listed_by_name_and_survive() {
    each(|backend, options| {
        let store = open(backend, options);
        assert_eq!(store.document("user/a").unwrap(), None);
        for name in ["user/b", "user/a", "users", "lease/backup", "user/\u{10ffff}"] {
            store.put_document(name, Some(name.as_bytes()), Expected::Absent).unwrap().unwrap();
        }
        let names = |prefix, after, limit| -> Vec<String> {
            let found = store.documents(prefix, after, limit).unwrap();
            found.into_iter().map(|document: Document| document.name).collect()
        };
        assert_eq!(names("user/", None, 9), ["user/a", "user/b", "user/\u{10ffff}"]);
        assert_eq!(names("user/", Some("user/a"), 1), ["user/b"]);
        assert_eq!(names("", None, 2), ["lease/backup", "user/a"]);
        drop(store);
        let store = open(backend, options);
        assert_eq!(store.document("user/a").unwrap().unwrap().body, b"user/a");
    });
}

#[test]
fn a_document_changes_only_from_what_was_expected() {
    each(|backend, options| {
        let store = open(backend, options);
        let put = |body, expected| store.put_document("lease/backup", body, expected).unwrap();
        assert_eq!(put(Some(b"x"), Expected::Version(1)), None);
        let first = put(Some(b"one"), Expected::Absent).unwrap();
        assert_eq!(put(Some(b"two"), Expected::Absent), None);
        let second = put(Some(b"two"), Expected::Version(first)).unwrap();
        assert_eq!(put(Some(b"three"), Expected::Version(first)), None);
        assert_eq!(put(None, Expected::Version(first)), None);
        let there = store.document("lease/backup").unwrap().unwrap();
        assert_eq!((there.version, &*there.body), (second, &b"two"[..]));
        put(None, Expected::Version(second)).unwrap();
        assert_eq!(store.document("lease/backup").unwrap(), None);
        // Who knew it before it was removed does not take it for the new one.
        let third = put(Some(b"new"), Expected::Any).unwrap();
        assert!(![first, second].contains(&third));
        let large = vec![0; DOCUMENT_BODY_MAX + 1];
        let refused = store.put_document("large", Some(&large), Expected::Any);
        assert!(matches!(refused, Err(StoreError::DocumentSize { .. })));
    });
}

#[test]
fn of_many_that_want_a_document_at_once_one_gets_it() {
    each(|backend, options| {
        let store = open(backend, options);
        let take = |n: u8| store.put_document("lease", Some(&[n]), Expected::Absent).unwrap();
        let won = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|n| scope.spawn(move || take(n))).collect();
            tries.into_iter().filter_map(|attempt| attempt.join().unwrap()).count()
        });
        assert_eq!(won, 1);
    });
}
