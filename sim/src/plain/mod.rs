//! From a failing run to a plain `#[test]`: one that needs the engine and nothing of this crate.
//!
//! The run's record becomes a *script*: the client's calls on a [`MemDisk`](tidewall::disk::MemDisk), which calls of that
//! disk fail and how, what each power cut leaves. The script is performed, here, on the real engine, under the same
//! oracle; only if it breaks the same promise is there a test. Then it is made smaller, and its numbers plainer, as long
//! as that remains so; and printed.
//!
//! | file | subject |
//! |---|---|
//! | `script` | scripts and checks, as values |
//! | `derive` | from the record of a run to a script |
//! | `perform` | a script on the engine: under the oracle, and as its test would run it |
//! | `reduce` | a smaller script, a plainer one |
//! | `print` | a script as Rust |
//! | this one | which of the scripts of a run becomes the test |
//!
//! There are two forms. The *story* begins with an empty disk: whatever is wrong with the engine, the test passes once
//! that is mended. Where no story fits, the *image* is what the last crash left, byte for byte, and the test opens it. What
//! a wrong engine has written may be beyond repair, and then an image shows the bug and not its mending; so the story goes
//! first, even where it is longer.
//!
//! A planted bug can be taken out again, so for one of those a test counts only if it also passes without.

mod derive;
mod perform;
mod print;
mod reduce;
mod script;

use crate::choice::{Chooser, Tape};
use crate::drivers::{self, Driver};
use crate::model::Violation;
use crate::scenario::Setting;
use crate::shrink::Reason;
use script::{Form, Script};

/// Lines of a test, at most: one that is longer is not read.
pub const LINES: usize = 60;

/// A test, as the text of a file in `tests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainTest {
    /// The file.
    pub text: String,
    /// What it begins with, in words.
    pub form: &'static str,
}

impl PlainTest {
    /// Lines from the attribute to the closing brace, and those above them.
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// What a test is about: the reason for which the run fails, and the bug that is planted.
struct Aim {
    reason: Reason,
    plant: Option<tidewall::plant::Bug>,
}

/// The test of a run that fails, named after `name`.
///
/// # Errors
/// Why there is none.
pub fn of_tape(tape: &Tape, setting: Setting<'_>, name: &str) -> Result<PlainTest, String> {
    if !matches!(setting.driver, Driver::Sequential | Driver::Exhaustive) {
        let driver = setting.driver.name();
        return Err(format!("what the {driver} driver does takes its scheduler; the tape is the test"));
    }
    let setting = Setting { with_lines: true, ..setting };
    let outcome = drivers::run(Chooser::from_tape(tape.clone()), setting);
    let violation = outcome.violation.ok_or("the run does not fail")?;
    let aim = Aim { reason: Reason::of(&violation), plant: setting.plant };
    let derived = derive::scripts(&outcome.record);
    let mut longest = None;
    for script in derived {
        let Some(script) = reduce::reduce(script, &aim) else { continue };
        let test = printed(&script, &aim, &violation, name);
        if test.lines() <= LINES {
            return Ok(test);
        }
        longest = longest.max(Some(test.lines()));
    }
    Err(match longest {
        Some(lines) => format!("the shortest one found has {lines} lines, more than {LINES}"),
        None => {
            format!("no replay of its calls on a MemDisk breaks the same promise ({})", violation.promise)
        }
    })
}

fn printed(script: &Script, aim: &Aim, violation: &Violation, name: &str) -> PlainTest {
    let found = perform::aimed(script, aim).expect("a reduced script was performed");
    let form = match script.form() {
        Form::Story => "the calls of the client, from an empty disk on",
        Form::Image => "what the last crash left, byte for byte",
    };
    PlainTest { text: print::print(script, &found, aim.plant, violation, name), form }
}
