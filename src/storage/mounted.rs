//! What is looked at before pictures that cannot be found are taken for gone: their disk may not be mounted.

use std::collections::HashMap;

/// How many pictures are looked for before the media directory is taken for one whose disk is not mounted; and how many
/// must have been below a folder before it is, where that is empty.
pub const MANY: usize = 64;

/// Indices of [`MANY`] of `count` things, or of all, evenly over them.
pub fn sample(count: usize) -> impl Iterator<Item = usize> {
    let many = count.min(MANY);
    (0..many).map(move |number| number * count / many)
}

/// How many of these paths are below each folder.
pub fn count_below<'a>(paths: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut below = HashMap::new();
    for path in paths {
        for (end, _) in path.match_indices('/') {
            *below.entry(&path[..end]).or_default() += 1;
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_evenly_and_has_each_once() {
        for count in [0, 1, 2, 63, 64, 65, 127, 1000] {
            let sample: Vec<usize> = sample(count).collect();
            assert_eq!(sample.len(), count.min(MANY));
            assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(
                sample
                    .last()
                    .is_none_or(|last| count - last <= count.div_ceil(MANY))
            );
        }
    }

    #[test]
    fn paths_are_below_each_folder_on_their_way() {
        let below = count_below(["a/b/c", "a/d", "e"].into_iter());
        assert_eq!(below, HashMap::from([("a", 2), ("a/b", 1)]));
    }
}
