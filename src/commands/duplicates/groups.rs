//! From pairs to groups.

use super::member::Ranked;
use super::{Compared, Options};
use crate::similarity::scan::pairs::Pair;

/// A group: ranks, the best first, and how far each is from it.
type Numbered = Vec<(usize, f64)>;

/// For each rank, the ranks that it makes a pair with, by rank: 16 bytes a pair, of which there may be 100,000,000.
struct Neighbours<'a> {
    pairs: &'a [Pair],
    /// Where the links of each rank begin, and those of the last end.
    starts: Vec<usize>,
    links: Vec<Link>,
}

/// One side of a pair.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    /// The other side.
    rank: u32,
    /// The index of the pair.
    pair: u32,
}

/// The groups that pairs make. `distance` is that of two places; it is asked for pairs that are not among these.
pub fn groups(
    members: &Ranked,
    pairs: &[Pair],
    compared: &Compared<'_>,
    options: &Options,
    distance: &dyn Fn(u32, u32) -> f64,
) -> Vec<Numbered> {
    let mut by_place: Vec<(u32, usize)> = (0..members.len())
        .map(|rank| (members.place(rank), rank))
        .collect();
    by_place.sort_unstable();
    let rank = |place: u32| {
        let found = by_place.binary_search_by_key(&place, |(place, _)| *place);
        by_place[found.expect("members are all that are in a pair")].1
    };
    let neighbours = Neighbours::new(members.len(), pairs, &rank);
    if options.against.is_some() {
        neighbours.nearest_of(&|rank| compared.is_in_against(members.place(rank)))
    } else if options.linked {
        neighbours.linked(&|one, other| distance(members.place(one), members.place(other)))
    } else {
        neighbours.stars()
    }
}

impl<'a> Neighbours<'a> {
    /// `rank` is that of a place, below `count`.
    fn new(count: usize, pairs: &'a [Pair], rank: &dyn Fn(u32) -> usize) -> Self {
        let sides = |pair: &Pair| [rank(pair.first), rank(pair.second)];
        let mut starts = vec![0; count + 1];
        for one in pairs.iter().flat_map(sides) {
            starts[one + 1] += 1;
        }
        for rank in 0..count {
            starts[rank + 1] += starts[rank];
        }
        let mut ends = starts.clone();
        let mut links = vec![Link::default(); pairs.len() * 2];
        for (number, pair) in (0..).zip(pairs) {
            let [one, other] = sides(pair);
            for (of, rank) in [(one, other), (other, one)] {
                links[ends[of]] = Link {
                    rank: rank as u32,
                    pair: number,
                };
                ends[of] += 1;
            }
        }
        for ends in starts.windows(2) {
            links[ends[0]..ends[1]].sort_unstable();
        }
        Neighbours {
            pairs,
            starts,
            links,
        }
    }

    /// How many ranks there are.
    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    fn links(&self, rank: usize) -> &[Link] {
        &self.links[self.starts[rank]..self.starts[rank + 1]]
    }

    /// The ranks that a rank makes a pair with, and their distances.
    fn of(&self, rank: usize) -> impl Iterator<Item = (usize, f64)> {
        let links = self.links(rank).iter();
        links.map(|link| (link.rank as usize, self.pairs[link.pair as usize].distance))
    }

    fn are_near(&self, one: usize, other: usize) -> bool {
        let found = self
            .links(one)
            .binary_search_by_key(&other, |link| link.rank as usize);
        found.is_ok()
    }

    /// The best that is left, and of those near to it, the nearest first, each that is near to all before it; and so
    /// on.
    fn stars(&self) -> Vec<Numbered> {
        let mut is_taken = vec![false; self.count()];
        let mut groups = Vec::new();
        for best in 0..self.count() {
            if is_taken[best] {
                continue;
            }
            let near = self.of(best).filter(|(rank, _)| !is_taken[*rank]);
            let mut near: Numbered = near.collect();
            by_distance(&mut near);
            let mut group = vec![(best, 0.0)];
            for (rank, distance) in near {
                if group[1..]
                    .iter()
                    .all(|(member, _)| self.are_near(*member, rank))
                {
                    group.push((rank, distance));
                }
            }
            if group.len() > 1 {
                group.iter().for_each(|(rank, _)| is_taken[*rank] = true);
                groups.push(group);
            }
        }
        groups
    }

    /// All that chains of pairs link.
    fn linked(&self, distance: &dyn Fn(usize, usize) -> f64) -> Vec<Numbered> {
        let mut is_taken = vec![false; self.count()];
        let mut groups = Vec::new();
        for best in 0..self.count() {
            if is_taken[best] || self.links(best).is_empty() {
                continue;
            }
            is_taken[best] = true;
            let (mut group, mut next) = (vec![(best, 0.0)], 0);
            while next < group.len() {
                for (rank, _) in self.of(group[next].0) {
                    if !is_taken[rank] {
                        is_taken[rank] = true;
                        group.push((rank, distance(best, rank)));
                    }
                }
                next += 1;
            }
            by_distance(&mut group[1..]);
            groups.push(group);
        }
        groups
    }

    /// Each rank that is not one to compare with, in the group of the nearest that is; of several, of the best.
    fn nearest_of(&self, is_in_against: &dyn Fn(usize) -> bool) -> Vec<Numbered> {
        let mut groups: Vec<Numbered> = vec![Vec::new(); self.count()];
        for rank in (0..self.count()).filter(|rank| !is_in_against(*rank)) {
            let there = self.of(rank).filter(|(other, _)| is_in_against(*other));
            let nearest = there.min_by(|one, other| one.1.total_cmp(&other.1));
            if let Some((best, distance)) = nearest {
                groups[best].push((rank, distance));
            }
        }
        let groups = groups.into_iter().enumerate();
        let groups = groups.filter(|(_, group)| !group.is_empty());
        groups
            .map(|(best, mut group)| {
                by_distance(&mut group);
                group.insert(0, (best, 0.0));
                group
            })
            .collect()
    }
}

/// The nearest first; of several at one distance, the best.
fn by_distance(group: &mut [(usize, f64)]) {
    group.sort_unstable_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// The points on a line, which are in the order of their ranks, that are within a limit of each other.
    fn on_a_line(points: &[f64], limit: f64) -> Vec<Pair> {
        let ranks = 0..points.len() as u32;
        let pairs = ranks.clone().flat_map(|first| {
            (first + 1..ranks.end).map(move |second| {
                let [one, other] = [first, second].map(|rank| points[rank as usize]);
                Pair {
                    first,
                    second,
                    distance: (one - other).abs(),
                }
            })
        });
        pairs.filter(|pair| pair.distance <= limit).collect()
    }

    fn neighbours<'a>(points: &[f64], pairs: &'a [Pair]) -> Neighbours<'a> {
        Neighbours::new(points.len(), pairs, &|place| place as usize)
    }

    fn ranks(groups: &[Numbered]) -> Vec<Vec<usize>> {
        let ranks = groups
            .iter()
            .map(|group| group.iter().map(|(rank, _)| *rank).collect());
        ranks.collect()
    }

    #[test]
    fn a_chain_is_one_group_where_it_is_asked_for_and_else_stars_that_are_no_wider_than_the_limit()
    {
        let points = [2.0, 0.0, 1.0, 3.0, 4.0, 9.0];
        let pairs = on_a_line(&points, 1.0);
        let line = neighbours(&points, &pairs);
        // 1 and 3 are two apart: only one of them is with 2, and 1 comes first.
        assert_eq!(ranks(&line.stars()), [vec![0, 2], vec![3, 4]]);
        let distance = |one: usize, other: usize| (points[one] - points[other]).abs();
        let linked = line.linked(&distance);
        assert_eq!(
            linked,
            [vec![(0, 0.0), (2, 1.0), (3, 1.0), (1, 2.0), (4, 2.0)]]
        );
    }

    #[test]
    fn each_is_with_the_nearest_of_those_it_is_compared_with() {
        let points = [0.0, 5.0, 1.0, 4.0, 2.5, 9.0];
        let pairs = on_a_line(&points, 3.0);
        let line = neighbours(&points, &pairs);
        let groups = line.nearest_of(&|rank| rank < 2);
        assert_eq!(
            groups,
            [vec![(0, 0.0), (2, 1.0), (4, 2.5)], vec![(1, 0.0), (3, 1.0)],]
        );
    }

    #[test]
    fn whatever_the_pairs_are_groups_are_near_disjoint_and_leave_out_nothing_that_could_join() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let count = rng.random_range(2..40);
            let points: Vec<f64> = (0..count)
                .map(|_| f64::from(rng.random_range(0..60)))
                .collect();
            let limit = f64::from(rng.random_range(0..12));
            let pairs = on_a_line(&points, limit);
            let line = neighbours(&points, &pairs);
            let groups = ranks(&line.stars());
            let mut members = groups.concat();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), groups.concat().len());
            for group in &groups {
                assert!(group.len() > 1 && group.iter().all(|rank| group[0] <= *rank));
                let far = |one: &usize| {
                    group
                        .iter()
                        .any(|other| (points[*one] - points[*other]).abs() > limit)
                };
                assert!(!group.iter().any(far), "{points:?} {limit} {group:?}");
            }
            // Of those that are in no group, no two could make one.
            let alone: Vec<usize> = (0..count).filter(|rank| !members.contains(rank)).collect();
            for one in &alone {
                assert!(
                    alone
                        .iter()
                        .all(|other| one == other || !line.are_near(*one, *other))
                );
            }
        }
    }
}
