//! Majority arithmetic. A leaf: it imports nothing and knows no replica.

/// How many of `voters` make a majority. Two majorities of the same voters share at least one; so do majorities of two
/// sets of voters that differ by one member, which is why membership changes one voter at a time.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many of `voters` may fail while a majority is left.
pub fn spare(voters: usize) -> usize {
    voters - majority(voters).min(voters)
}

/// The highest value that a majority has reached. `values` holds one value a voter and is left sorted.
///
/// Returns `None` without voters: nobody is not a majority.
pub fn reached_by_majority<T: Ord + Copy>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    let behind = values.len().checked_sub(majority(values.len()))?;
    values.get(behind).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_of_sets_that_differ_by_one_intersect() {
        for voters in 1..64 {
            assert!(2 * majority(voters) > voters, "{voters}");
            assert!(majority(voters) + majority(voters + 1) > voters + 1, "{voters}");
            assert_eq!(spare(voters) + majority(voters), voters);
        }
    }

    #[test]
    fn what_a_majority_has_reached() {
        assert_eq!(reached_by_majority::<u64>(&mut []), None);
        assert_eq!(reached_by_majority(&mut [7]), Some(7));
        assert_eq!(reached_by_majority(&mut [7, 3]), Some(3));
        assert_eq!(reached_by_majority(&mut [9, 1, 5]), Some(5));
        assert_eq!(reached_by_majority(&mut [9, 1, 5, 4]), Some(4));
        assert_eq!(reached_by_majority(&mut [0, 0, 9, 9, 9]), Some(9));
        assert_eq!(reached_by_majority(&mut [0, 0, 0, 9, 9]), Some(0));
    }
}
