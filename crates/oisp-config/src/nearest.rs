//! What a mistyped name may have meant.

/// Longer names are nobody's typing error, and comparing takes the square of the length.
const LONGEST: usize = 100;

/// The candidate that a name is nearest to, if it is near. Capitals, and which signs part the words, do not matter.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let normal = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let candidates: Vec<_> = candidates.collect();
    let (likeness, best) = candidates
        .iter()
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&normal(name), &normal(candidate)), *candidate)
        })
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    if likeness >= 0.8 {
        return Some(best);
    }
    // The right name in the wrong table, or in none.
    let last = |path: &str| path.rsplit('.').next().map(normal);
    let mut same = candidates.iter().filter(|candidate| last(candidate) == last(name));
    match (same.next(), same.next()) {
        (Some(only), None) => Some(only),
        _ => (likeness >= 0.65).then_some(best),
    }
}
