//! Tells the program which versions it was built with, from the lock file beside the manifest.

use std::path::Path;

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let lock = Path::new(&manifest).join("Cargo.lock");
    let text = std::fs::read_to_string(&lock).expect("cargo has made a lock file by now");
    for (name, variable) in [("redb", "REDB"), ("raft-engine", "RAFT_ENGINE"), ("turso_core", "TURSO")] {
        let entry = text.split_once(&format!("name = \"{name}\"\nversion = \""));
        let version = entry.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("none");
        println!("cargo::rustc-env=VERSION_{variable}={version}");
        if name == "turso_core" && version.starts_with("0.4.") {
            println!("cargo::rustc-cfg=turso_0_4");
        }
        if name == "turso_core" && version == "0.4.3" {
            println!("cargo::rustc-cfg=turso_0_4_3");
        }
        if name == "raft-engine" && version.starts_with("0.3.") {
            println!("cargo::rustc-cfg=raft_engine_0_3");
        }
    }
    println!("cargo::rustc-check-cfg=cfg(raft_engine_0_3, turso_0_4, turso_0_4_3)");
    println!("cargo::rerun-if-changed={}", lock.display());
}
