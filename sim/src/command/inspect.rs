//! `sim inspect`: a real directory read without opening it.

use super::Unusable;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tidewall::disk::{Disk, RealDisk};
use tidewall::store::manifest;

#[derive(Args)]
pub struct InspectArgs {
    /// The directory
    dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn inspect(args: &InspectArgs) -> Result<u8, Unusable> {
    let disk = RealDisk::existing(&args.dir)
        .map_err(|error| Unusable(format!("{} is not a directory: {error}", args.dir.display())))?;
    let inspection = tidewall::inspect(&disk)?;
    // Nothing was verified, so it is neither sound nor damaged.
    let has_manifest = disk.list()?.iter().any(|name| name == manifest::NAME);
    if !has_manifest && inspection.segments.is_empty() && inspection.chunks.is_empty() {
        return Err(Unusable(format!("there is no store in {}", args.dir.display())));
    }
    if args.json {
        let damage: Vec<_> = inspection
            .damage
            .iter()
            .map(|damage| json!({"file": damage.file, "offset": damage.offset, "expected": damage.expected}))
            .collect();
        let blocks: usize = inspection.chunks.iter().map(|chunk| chunk.blocks.len()).sum();
        println!(
            "{}",
            json!({
                "kind": "inspection",
                "sound": damage.is_empty(),
                "manifest_records": inspection.manifest_records.len(),
                "segments": inspection.segments.len(),
                "frames_to_replay": inspection.segments.iter().map(|segment| segment.live.len()).sum::<usize>(),
                "chunks": inspection.chunks.len(),
                "blocks": blocks,
                "end_lsn": inspection.end_lsn().0,
                "proven_lsn": inspection.proven_lsn().0,
                "unknown_files": inspection.unknown_files,
                "damage": damage,
            })
        );
    } else {
        print!("{inspection}");
    }
    Ok(u8::from(!inspection.damage.is_empty()))
}
