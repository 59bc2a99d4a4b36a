//! A file system on a loop device whose backing file stands for the platter: what is in that file has reached the device;
//! what is in the page cache above it has not, and a power cut takes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of file system, and how it is made and mounted.
#[derive(Debug)]
pub struct FileSystem {
    pub name: &'static str,
    kind: &'static str,
    mkfs: &'static [&'static str],
    options: &'static str,
    image_bytes: u64,
    /// `xfs_io` can take the power from a mounted one.
    pub shuts_down: bool,
    /// Now and then a name comes back from which a file was renamed, although the directory has been synced since: seen on btrfs, once
    /// in more than a hundred cuts, Linux 6.18; perhaps the replay of its log adds the new name and leaves the old one.
    pub revives_names: bool,
}

const EXT4: FileSystem = FileSystem {
    name: "ext4",
    kind: "ext4",
    mkfs: &["mkfs.ext4", "-q", "-F"],
    options: "loop",
    image_bytes: 64 << 20,
    shuts_down: true,
    revives_names: false,
};

/// Those that Linux machines have.
pub const ALL: [FileSystem; 5] = [
    EXT4,
    FileSystem { name: "ext4, data=writeback", options: "loop,data=writeback", ..EXT4 },
    FileSystem { name: "ext4, data=journal", options: "loop,data=journal", ..EXT4 },
    FileSystem {
        name: "xfs",
        kind: "xfs",
        mkfs: &["mkfs.xfs", "-q", "-f"],
        options: "loop",
        image_bytes: 320 << 20,
        shuts_down: true,
        revives_names: false,
    },
    FileSystem {
        name: "btrfs",
        kind: "btrfs",
        mkfs: &["mkfs.btrfs", "-q", "-f"],
        options: "loop",
        image_bytes: 128 << 20,
        shuts_down: false,
        revives_names: true,
    },
];

/// Runs a program to its end; its output, or why it failed.
pub fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of this test are UTF-8")
}

/// A mounted one. It is unmounted, and its image removed, when this goes.
pub struct Volume {
    pub system: &'static FileSystem,
    image: PathBuf,
    mount: PathBuf,
    /// Such as `loop3`.
    device: String,
}

impl Volume {
    /// An empty one, with its files in `dir`; or what this machine lacks for it.
    pub fn format(system: &'static FileSystem, dir: &Path) -> Result<Volume, String> {
        let (image, mount) = (dir.join("0.img"), dir.join("mount"));
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(system.image_bytes).map_err(|error| error.to_string())?;
        let args: Vec<_> = system.mkfs[1..].iter().copied().chain([text(&image)]).collect();
        tool(system.mkfs[0], &args)?;
        fs::create_dir(&mount).map_err(|error| error.to_string())?;
        Volume::mount(system, image, mount)
    }

    fn mount(system: &'static FileSystem, image: PathBuf, mount: PathBuf) -> Result<Volume, String> {
        tool("mount", &["-t", system.kind, "-o", system.options, text(&image), text(&mount)])?;
        let mut volume = Volume { system, image, mount, device: String::new() };
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(text(&volume.mount)));
        let device = line.and_then(|line| line.split(' ').next()?.strip_prefix("/dev/"));
        volume.device = device.ok_or("the mounted device is not in /proc/self/mounts")?.into();
        Ok(volume)
    }

    /// The directory that the engine is given.
    pub fn store(&self) -> PathBuf {
        self.mount.join("store")
    }

    /// From now on nothing reaches the device, wherever the file system was: in the middle of a sync, too.
    pub fn shut_down(&self) -> Result<(), String> {
        tool("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)]).map(drop)
    }

    /// The power is cut: mounts again what has reached the device, and forgets the rest.
    pub fn cut_power(self, cut: usize) -> Volume {
        let image = self.image.with_file_name(format!("{cut}.img"));
        self.copy_image(&image);
        let (system, mount) = (self.system, self.mount.clone());
        // Two of one identity cannot be mounted at a time.
        drop(self);
        Volume::mount(system, image, mount).expect("what a power cut left is mounted")
    }

    /// Copies the backing file as it is at one moment: no write reached the device from the beginning of the copy to its
    /// end.
    fn copy_image(&self, to: &Path) {
        for _ in 0..200 {
            let before = self.writes();
            tool("cp", &["--sparse=auto", text(&self.image), text(to)]).expect("an image is copied");
            if before.in_flight == 0 && self.writes() == before {
                return;
            }
        }
        panic!("{} never comes to rest", self.device);
    }

    fn writes(&self) -> Writes {
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.device)).expect("a block device");
        let fields: Vec<u64> = stat.split_whitespace().map(|field| field.parse().expect("a count")).collect();
        // Fields as Documentation/block/stat.rst numbers them, from 0. Kernels before 4.18 have no discards.
        Writes {
            done: fields[4],
            sectors: fields[6],
            in_flight: fields[8],
            discards: fields.get(11).copied(),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let mount = text(&self.mount);
        // The loop device goes with the mount. Lazily if it is in use, so that at least the next user has a free name.
        if tool("umount", &[mount]).is_err() {
            let _ = tool("umount", &["--lazy", mount]);
        }
        let _ = fs::remove_file(&self.image);
    }
}

/// How much was written to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Writes {
    done: u64,
    sectors: u64,
    in_flight: u64,
    discards: Option<u64>,
}
