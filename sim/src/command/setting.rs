//! What `run` and `replay` have in common: the words that say what a run is asked to be.

use super::Unusable;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::path::{Path, PathBuf};
use tidewall::plant::Bug;
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::Profile;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::runner;
use tidewall_sim::scenario::{Outcome, Setting};
use tidewall_sim::tape_file::TapeFile;
use tidewall_sim::trace::Trace;

#[derive(Args, Clone)]
pub struct SettingArgs {
    /// How runs are scheduled [default: the one that finds the planted bug, or sequential]
    #[arg(long, value_parser = driver_parser())]
    driver: Option<Driver>,
    /// What a power cut can do inside a sector
    #[arg(long, default_value = "any", value_parser = ["any", "sector", "byte", "garbage"])]
    pub profile: String,
    /// Recorded sensor data as the workload; may be given several times
    #[arg(long, value_name = "CSV")]
    pub trace: Vec<PathBuf>,
    /// Switch on one planted bug, which must be found
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
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
        let Some(name) = &self.plant else { return Ok(None) };
        match Bug::ALL.iter().find(|bug| bug.name() == name) {
            Some(bug) => Ok(Some(*bug)),
            None => {
                let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                Err(Unusable(format!("no planted bug is called {name}; there are {}", names.join(", "))))
            }
        }
    }

    pub fn profile(&self) -> Result<Profile, Unusable> {
        runner::profile(&self.profile)
            .ok_or_else(|| Unusable(format!("no profile is called {}", self.profile)))
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
        for path in &self.trace {
            words += &format!(" --trace {}", path.display());
        }
        if let Some(plant) = &self.plant {
            words += &format!(" --plant {plant}");
        }
        words
    }
}

/// One run that the command line names: a seed, a saved tape, or the input of a fuzzer.
pub struct Run {
    pub chooser: Chooser,
    pub args: SettingArgs,
    name: String,
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
            trace,
            plant: self.args.plant()?,
            ..Setting::default()
        })
    }

    pub fn story_of(&self, outcome: &Outcome) -> String {
        story(&self.name, outcome)
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
        plant: setting.plant.clone(),
        trace: setting.trace_files(),
        tape: outcome.tape.clone(),
    };
    std::fs::write(path, file.to_text())
        .map_err(|error| Unusable(format!("cannot write {}: {error}", path.display())))
}
