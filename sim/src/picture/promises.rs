//! The promises in words, as `src/lib.rs` of the engine states them; a test compares the two.

/// The invariants by number.
const INVARIANTS: [(&str, &str); 10] = [
    ("I1", "`durable_lsn` passes a frame only after a sync that covers it has returned success"),
    (
        "I2",
        "what survives of a tag is a prefix of what was accepted for it, and at least all that was durable",
    ),
    ("I3", "a block holds only points below `durable_lsn`"),
    (
        "I4",
        "a block is durable before the manifest names it; the manifest is durable before a segment is reused",
    ),
    (
        "I5",
        "recovery yields each point once, bit for bit: value, quality and microsecond; nothing is invented",
    ),
    (
        "I6",
        "only the unsynced tail may be torn; any other damage is reported with file and offset, and never skipped in silence: a hole below what later frames prove was durable is corruption, not a tail",
    ),
    ("I7", "`checkpoint_lsn <= durable_lsn <= appended_lsn`, and none of them moves back"),
    (
        "I8",
        "the first failed sync is final: every waiter hears it, the engine is read-only until reopened, and no sync is retried as if it could still succeed",
    ),
    (
        "I9",
        "a failed write (no space, I/O error) loses nothing that was accepted before it and leaves queries working",
    ),
    (
        "I10",
        "recovery is idempotent: a crash at any point of recovery, any number of times, ends in the same state",
    ),
];

/// The sentence of a promise as verdicts name it; the name itself where it is a sentence already.
pub fn sentence(promise: &str) -> String {
    let name = promise.split(':').next().unwrap_or(promise);
    match INVARIANTS.iter().find(|(number, _)| *number == name) {
        Some((_, sentence)) => (*sentence).into(),
        None => promise.into(),
    }
}

/// The number of the promise, if it has one.
pub fn number(promise: &str) -> Option<&'static str> {
    let name = promise.split(':').next().unwrap_or(promise);
    INVARIANTS.iter().find(|(number, _)| *number == name).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_are_those_of_the_engine() {
        let source = include_str!("../../../src/lib.rs");
        for (number, sentence) in INVARIANTS {
            let row = format!("| **{number}** | {sentence} |");
            assert!(source.contains(&row), "src/lib.rs has another sentence for {number}");
        }
    }

    #[test]
    fn verdicts_name_promises_in_several_ways() {
        assert!(sentence("I6: only damage is called damage").starts_with("only the unsynced tail"));
        assert_eq!(sentence("every call ends"), "every call ends");
        assert_eq!((number("I10"), number("step")), (Some("I10"), None));
    }
}
