//! Any bytes as `objects.txt`: an object's feature always stays inside the feature directory, two levels down.
#![no_main]

use std::path::Component;

use libfuzzer_sys::fuzz_target;
use simsearch::storage::object_id::{IdKind, ObjectId};
use simsearch::storage::object_list::ObjectList;

fuzz_target!(|bytes: &[u8]| {
    let kind = [IdKind::Name, IdKind::Path][bytes.len() % 2];
    let Ok(list) = ObjectList::parse(&mut &bytes[..], kind, None) else {
        assert!(std::str::from_utf8(bytes).is_err());
        return;
    };
    for entry in list.entries() {
        assert!(!entry.is_empty() && !entry.contains('\n'));
        let Ok(id) = ObjectId::from_entry(kind, entry) else {
            continue;
        };
        let path = id.feature_path();
        let parts: Vec<_> = path.components().collect();
        assert_eq!(parts.len(), 3, "{path:?}");
        assert!(
            parts
                .iter()
                .all(|part| matches!(part, Component::Normal(_))),
            "{path:?}"
        );
        assert!(!path.to_str().unwrap().contains('\0'));
        assert_eq!(ObjectId::new(kind, id.as_str()).as_ref(), Ok(&id));
    }
});
