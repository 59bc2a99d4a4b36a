//! Sets `cfg(loom)` for this crate alone: an environment variable would set it for every dependency, too.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
