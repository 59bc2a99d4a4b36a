//! Writes the first inputs of every fuzz target: `cargo run -p tidewall-sim --example seed_corpus -- fuzz/corpus`.

use std::path::PathBuf;
use tidewall_sim::fuzz::{Target, corpus};

fn main() -> std::io::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).expect("the directory to write to"));
    for (name, target) in Target::ALL {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        for (seed, bytes) in corpus::seeds(target) {
            std::fs::write(dir.join(seed), bytes)?;
        }
    }
    Ok(())
}
