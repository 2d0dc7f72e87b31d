//! Which key somebody meant who mistyped one.

/// The name nearest to what was written, when it is near enough to be a typo: at most a third of its letters wrong.
/// Case and the kind of dash do not count.
pub(super) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    names
        .map(|name| (distance(written.as_bytes(), name.as_bytes()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| distance * 3 <= name.len())
        .map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and substitutions that make one of the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"same", b"same"), 0);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["listen", "market_rate", "log"];
        assert_eq!(nearest("LISTNE", names.into_iter()), Some("listen"));
        assert_eq!(nearest("market-rate", names.into_iter()), Some("market_rate"));
        assert_eq!(nearest("xyz", names.into_iter()), None);
    }
}
