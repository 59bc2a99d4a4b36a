//! A saved tape: text, so that its first line can tell its story and a diff can show what changed.
//!
//! ```text
//! # seed 17: Lost (I2): tag 3: 2 of 40 acked points are gone …
//! tidewall-tape 1
//! driver: sequential
//! profile: any
//! plant: W6
//! trace: nab/nyc_taxi.csv
//! shape: 3 0 1 …
//! ops: 4 4 9 …
//! …
//! ```

use crate::choice::Tape;

const MAGIC: &str = "tidewall-tape 1";

/// A tape with what else a replay needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapeFile {
    /// What it shows, on one line.
    pub story: String,
    /// The driver's name; sequential in a file that has none.
    pub driver: String,
    /// The persistence profile.
    pub profile: String,
    /// The engine's sectors, if they are not those of 512 bytes.
    pub sector_bytes: Option<u64>,
    /// The planted bug.
    pub plant: Option<String>,
    /// Recorded data that it ran on.
    pub trace: Vec<String>,
    /// The decisions.
    pub tape: Tape,
}

impl TapeFile {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let story = self.story.replace('\n', " ");
        let mut text = format!("# {story}\n{MAGIC}\ndriver: {}\nprofile: {}\n", self.driver, self.profile);
        if let Some(bytes) = self.sector_bytes {
            text += &format!("sector_bytes: {bytes}\n");
        }
        if let Some(plant) = &self.plant {
            text += &format!("plant: {plant}\n");
        }
        for trace in &self.trace {
            text += &format!("trace: {trace}\n");
        }
        text + &self.tape.to_text()
    }

    /// Reads a file; `None` if it is not a saved tape at all.
    pub fn parse(bytes: &[u8]) -> Option<Result<TapeFile, String>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let mut file = TapeFile { driver: "sequential".into(), profile: "any".into(), ..TapeFile::default() };
        let mut line = lines.next()?;
        if let Some(story) = line.strip_prefix("# ") {
            file.story = story.into();
            line = lines.next()?;
        }
        if line != MAGIC {
            return None;
        }
        let mut streams = String::new();
        for line in lines {
            match line.split_once(": ") {
                Some(("driver", driver)) => file.driver = driver.into(),
                Some(("profile", profile)) => file.profile = profile.into(),
                Some(("sector_bytes", bytes)) => match bytes.parse() {
                    Ok(bytes) => file.sector_bytes = Some(bytes),
                    Err(_) => return Some(Err(format!("not a number of bytes: {bytes}"))),
                },
                Some(("plant", plant)) => file.plant = Some(plant.into()),
                Some(("trace", trace)) => file.trace.push(trace.into()),
                _ => streams += &format!("{line}\n"),
            }
        }
        Some(streams.parse().map(|tape| TapeFile { tape, ..file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Chooser, Concern};

    #[test]
    fn a_saved_tape_comes_back() {
        let mut chooser = Chooser::from_seed(3);
        for bound in 1..40 {
            chooser.below(Concern::Crash, bound);
        }
        let file = TapeFile {
            story: "seed 3: a story".into(),
            driver: "service".into(),
            profile: "byte".into(),
            sector_bytes: Some(4096),
            plant: Some("W6".into()),
            trace: vec!["a b.csv".into()],
            tape: chooser.made().clone(),
        };
        assert_eq!(TapeFile::parse(file.to_text().as_bytes()), Some(Ok(file)));
    }

    #[test]
    fn a_tape_without_a_driver_is_the_sequential_ones() {
        let file = TapeFile::parse(b"tidewall-tape 1\nprofile: byte\nops: 1").unwrap().unwrap();
        assert_eq!((&file.driver[..], &file.profile[..]), ("sequential", "byte"));
    }

    #[test]
    fn other_files_are_not_tapes() {
        assert_eq!(TapeFile::parse(b"\xff\x00"), None);
        assert_eq!(TapeFile::parse(b"ops: 1 2 3"), None);
        assert!(TapeFile::parse(b"tidewall-tape 1\nops: one").unwrap().is_err());
    }
}
