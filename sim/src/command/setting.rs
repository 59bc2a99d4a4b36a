//! What `run` and `replay` have in common: the words that say what a run is asked to be.

use super::Unusable;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::path::{Path, PathBuf};
use tidewall::plant::Bug;
use tidewall_sim::blind::Blind;
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::Profile;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::model::Verdict;
use tidewall_sim::scenario::{Outcome, Setting};
use tidewall_sim::tape_file::TapeFile;
use tidewall_sim::trace::Trace;

#[derive(Args, Clone)]
pub struct SettingArgs {
    /// How runs are scheduled [default: the one that finds the planted bug, or sequential]
    #[arg(long, value_parser = driver_parser())]
    driver: Option<Driver>,
    /// What the disk promises about unsynced writes: any, sector, byte, garbage, or atom/torn/names/size/order, such as
    /// 512/garbage/independent/any/none
    #[arg(long, default_value = "any", value_parser = profile_name)]
    pub profile: String,
    /// The engine's sectors [default: 512]; for the sequential and the exhaustive driver
    #[arg(long, value_name = "BYTES", value_parser = sector_bytes())]
    pub sector_bytes: Option<u64>,
    /// Recorded sensor data as the workload; may be given several times
    #[arg(long, value_name = "CSV")]
    pub trace: Vec<PathBuf>,
    /// Switch on one planted bug: the campaign should fail
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Give the test bed itself a blind spot: the campaign should not end with 0
    #[arg(long, value_name = "NAME", value_parser = blind_parser())]
    pub blind: Option<Blind>,
}

/// Those that a disk may have.
pub fn sector_bytes() -> impl TypedValueParser<Value = u64> {
    PossibleValuesParser::new(["512", "1024", "2048", "4096"]).map(|bytes| bytes.parse().expect("a number"))
}

fn blind_parser() -> impl TypedValueParser<Value = Blind> {
    let named = |name: String| Blind::ALL.iter().copied().find(|blind| blind.name() == name);
    PossibleValuesParser::new(
        Blind::ALL.iter().map(|blind| PossibleValue::new(blind.name()).help(blind.what())),
    )
    .map(move |name| named(name).expect("one of the possible values"))
}

fn profile_name(text: &str) -> Result<String, String> {
    text.parse::<Profile>().map(|profile| profile.to_string())
}

fn driver_parser() -> impl TypedValueParser<Value = Driver> {
    PossibleValuesParser::new(Driver::ALL.map(|(name, _)| name))
        .map(|name| Driver::named(&name).expect("one of the possible values"))
}

impl SettingArgs {
    pub fn driver(&self) -> Result<Driver, Unusable> {
        let driver = match (self.driver, self.plant()?) {
            (Some(driver), _) => driver,
            (None, None) => Driver::default(),
            (None, Some(bug)) => drivers::of(bug).ok_or_else(|| {
                let name = bug.name();
                Unusable(format!("{name} is for the models of loom: cargo test -p tidewall-loom finds it"))
            })?,
        };
        if let Some(why) = driver.unavailable() {
            return Err(Unusable(why.into()));
        }
        if driver != Driver::Sequential && !self.trace.is_empty() {
            return Err(Unusable(format!(
                "the {} driver makes its own points and takes no --trace",
                driver.name()
            )));
        }
        if !matches!(driver, Driver::Sequential | Driver::Exhaustive) && self.sector_bytes.is_some() {
            return Err(Unusable(format!("the {} driver has no --sector-bytes", driver.name())));
        }
        Ok(driver)
    }

    fn driver_name(&self) -> &'static str {
        self.driver().unwrap_or_default().name()
    }

    pub fn set_driver(&mut self, name: &str) -> Result<(), Unusable> {
        let named = Driver::named(name).ok_or_else(|| Unusable(format!("no driver is called {name}")))?;
        self.driver = Some(named);
        Ok(())
    }

    pub fn plant(&self) -> Result<Option<Bug>, Unusable> {
        self.plant.as_deref().map(planted).transpose()
    }

    pub fn profile(&self) -> Result<Profile, Unusable> {
        self.profile.parse().map_err(Unusable)
    }

    pub fn load_trace(&self) -> Result<Option<Trace>, Unusable> {
        if self.trace.is_empty() {
            return Ok(None);
        }
        let trace = Trace::load(&self.trace)?;
        for row in trace.bad_rows.iter().take(20) {
            eprintln!("sim: {row}");
        }
        if trace.bad_total > 20 {
            eprintln!("sim: and {} more rows that could not be used", trace.bad_total - 20);
        }
        Ok(Some(trace))
    }

    pub fn trace_files(&self) -> Vec<String> {
        self.trace.iter().map(|path| path.display().to_string()).collect()
    }

    /// The words that make `replay` run the same thing.
    pub fn to_words(&self) -> String {
        let mut words = String::new();
        // Without it the planted bug would choose.
        if self.driver.is_some_and(|driver| driver != Driver::default() || self.plant.is_some()) {
            words += &format!(" --driver {}", self.driver_name());
        }
        if self.profile != "any" {
            words += &format!(" --profile {}", self.profile);
        }
        if let Some(bytes) = self.sector_bytes {
            words += &format!(" --sector-bytes {bytes}");
        }
        for path in &self.trace {
            words += &format!(" --trace {}", path.display());
        }
        if let Some(plant) = &self.plant {
            words += &format!(" --plant {plant}");
        }
        if let Some(blind) = self.blind {
            words += &format!(" --blind {}", blind.name());
        }
        words
    }
}

/// The planted bug with this name.
pub fn planted(name: &str) -> Result<Bug, Unusable> {
    Bug::named(name).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        Unusable(format!("no planted bug is called {name}; there are {}", names.join(", ")))
    })
}

/// One run that the command line names: a seed, a saved tape, or the input of a fuzzer.
pub struct Run {
    pub chooser: Chooser,
    pub args: SettingArgs,
    pub name: String,
}

impl Run {
    pub fn load(what: &str, args: &SettingArgs) -> Result<(Run, Option<Trace>), Unusable> {
        let mut args = args.clone();
        let mut name = format!("seed {what}");
        let chooser = match what.parse::<u64>() {
            Ok(seed) => Chooser::from_seed(seed),
            Err(_) => {
                let bytes = std::fs::read(what).map_err(|error| {
                    Unusable(format!("{what} is neither a seed nor a file that can be read: {error}"))
                })?;
                name = Path::new(what).file_stem().unwrap_or_default().to_string_lossy().into_owned();
                match TapeFile::parse(&bytes) {
                    Some(file) => {
                        let file = file.map_err(|why| Unusable(format!("{what}: {why}")))?;
                        args.set_driver(&file.driver)?;
                        args.profile = file.profile;
                        args.sector_bytes = file.sector_bytes;
                        args.plant = args.plant.or(file.plant);
                        if args.trace.is_empty() {
                            args.trace = file.trace.iter().map(PathBuf::from).collect();
                        }
                        Chooser::from_tape(file.tape)
                    }
                    // Any other file is the input of a fuzzer: its bytes are the decisions.
                    None => Chooser::from_bytes(bytes),
                }
            }
        };
        let trace = args.load_trace()?;
        Ok((Run { chooser, args, name }, trace))
    }

    pub fn setting<'a>(&self, trace: Option<&'a Trace>) -> Result<Setting<'a>, Unusable> {
        Ok(Setting {
            driver: self.args.driver()?,
            profile: self.args.profile()?,
            sector_bytes: self.args.sector_bytes,
            trace,
            plant: self.args.plant()?,
            blind: self.args.blind,
            ..Setting::default()
        })
    }

    pub fn story_of(&self, outcome: &Outcome) -> String {
        story(&self.name, outcome)
    }
}

/// What one run in which nothing broke has shown.
pub fn held(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotMeasured => "NOT MEASURED: no store was opened after a crash",
        _ => "every promise held",
    }
}

/// What a run shows, on one line.
pub fn story(name: &str, outcome: &Outcome) -> String {
    match &outcome.violation {
        Some(violation) => format!("{name}: {violation}"),
        None => name.into(),
    }
}

pub fn save(path: &Path, story: &str, setting: &SettingArgs, outcome: &Outcome) -> Result<(), Unusable> {
    let file = TapeFile {
        story: story.into(),
        driver: setting.driver_name().into(),
        profile: setting.profile.clone(),
        sector_bytes: setting.sector_bytes,
        plant: setting.plant.clone(),
        trace: setting.trace_files(),
        tape: outcome.tape.clone(),
    };
    write(path, &file)
}

/// Writes a tape, and the folder that it is to be in.
pub fn write(path: &Path, file: &TapeFile) -> Result<(), Unusable> {
    write_text(path, &file.to_text())
}

/// Writes a file, and the folder that it is to be in.
pub fn write_text(path: &Path, text: &str) -> Result<(), Unusable> {
    let unusable = |error| Unusable(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(unusable)?;
    }
    std::fs::write(path, text).map_err(unusable)
}
