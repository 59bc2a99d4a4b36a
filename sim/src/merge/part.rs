//! Which part of a campaign a summary is about, and whether several of them are all of it.

use super::Refusal;
use serde::{Deserialize, Serialize};

/// The seeds that a summary is about, and the build that ran them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Hash of the sources: a seed means the same in one build only.
    pub sources: String,
    /// The first seed of the campaign.
    pub start: u64,
    /// Seeds of all shards together; `None` is until the time is over.
    pub seeds_asked: Option<u64>,
    /// Seconds after which a shard begins no new seed.
    pub time_asked: Option<u64>,
    /// Share of the seeds that run twice.
    pub recheck_percent: u64,
    /// `I/N`: every `N`-th seed, beginning with the `I`-th.
    pub shard: String,
}

/// The sources that this was built from.
pub const SOURCES: &str = env!("TIDEWALL_SOURCES");

impl Default for Part {
    /// A whole campaign, bounded by nothing.
    fn default() -> Part {
        Part {
            sources: SOURCES.into(),
            start: 0,
            seeds_asked: None,
            time_asked: None,
            recheck_percent: 0,
            shard: "0/1".into(),
        }
    }
}

/// Reads `I/N`, `I` below `N`.
///
/// # Errors
/// What it must be.
pub fn parse_shard(text: &str) -> Result<(u64, u64), String> {
    let parsed =
        text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parsed {
        Some((index, count)) if index < count => Ok((index, count)),
        _ => Err("must be I/N with I below N, such as 0/4".into()),
    }
}

impl Part {
    pub(super) fn position(&self) -> Result<(u64, u64), Refusal> {
        parse_shard(&self.shard).map_err(|why| Refusal(format!("shard {} {why}", self.shard)))
    }

    /// How many seeds it runs if nothing stops it; `None` if only the time does.
    pub(super) fn seeds_expected(&self) -> Result<Option<u64>, Refusal> {
        let (index, count) = self.position()?;
        Ok(self.seeds_asked.map(|seeds| seeds.saturating_sub(index).div_ceil(count)))
    }
}

/// Whether these are all shards of one campaign, each once.
pub(super) fn complete(parts: &[Part]) -> Result<(), Refusal> {
    let mut found = Vec::new();
    let (_, count) = parts[0].position()?;
    for part in parts {
        let (index, of) = part.position()?;
        if of != count {
            return Err(Refusal(format!("shards of two splits: {} and {}", parts[0].shard, part.shard)));
        }
        if found.contains(&index) {
            return Err(Refusal(format!("shard {} is there twice: its seeds would count twice", part.shard)));
        }
        found.push(index);
    }
    // As many as are there can be enough, but for one: a split may be of any number.
    let missing: Vec<_> = (0..count).filter(|index| !found.contains(index)).take(8).collect();
    if let Some(first) = missing.first() {
        let left = count - found.len() as u64;
        return Err(Refusal(format!("{left} of {count} shards are missing, the first is {first}/{count}")));
    }
    Ok(())
}
