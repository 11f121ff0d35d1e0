//! Searching while `concat` packs.

use std::sync::atomic::{AtomicBool, Ordering};

use simsearch::similarity::collection::Collection;

use super::{on_a_line, write_loose};
use crate::TestEnv;

#[test]
fn while_concat_packs_no_object_is_missed_and_none_is_there_twice() {
    let ids: Vec<String> = (0..300).map(|index| format!("{index:04}.jpg")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = on_a_line(&ids);
    let (mut opened, mut between) = (0, 0);
    // Until some have met `concat` at work, which takes a few rounds.
    for round in 0.. {
        let env = TestEnv::new();
        write_loose(&env, &rows);
        let directory = env.path("features/model");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                env.concat(&["--rows", "3"]).exits(0);
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                let collection = Collection::open(&directory).unwrap();
                assert!(collection.left_out.is_empty(), "{:?}", collection.left_out);
                let mut found: Vec<String> = collection
                    .parts()
                    .iter()
                    .flat_map(|part| (0..part.rows()).map(|row| part.id(row)))
                    .collect();
                found.sort();
                assert_eq!(found, ids);
                opened += 1;
                let parts = collection.parts().len();
                between += usize::from((2..100).contains(&parts));
            }
        });
        if between >= 5 {
            break;
        }
        assert!(
            round < 200,
            "of {opened} looks only {between} met concat at work"
        );
    }
}
