//! Where a producer began anew, from the list alone.

use crate::kvs::ListedFragment;

/// The fragments at which a producer began anew, perhaps with other settings: the counter in their numbers
/// jumps (docs/KVS.md 9.1). The first fragment is not one of them. Nothing is known of numbers of another
/// structure.
pub fn run_starts(rows: &[ListedFragment]) -> impl Iterator<Item = usize> + '_ {
    let counter = |row: &ListedFragment| row.number.parts().map(|parts| parts.counter);
    let mut before = rows.first().and_then(counter);
    rows.iter().enumerate().skip(1).filter_map(move |(index, row)| {
        let counter = counter(row);
        let follows = match (std::mem::replace(&mut before, counter), counter) {
            (Some(before), Some(counter)) => counter == before.wrapping_add(1),
            _ => true,
        };
        (!follows).then_some(index)
    })
}
