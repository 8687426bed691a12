//! Owns the virtual environment with the released Jumpstarter packages.
//!
//! It is made once for each list of requirements and interpreter, under `target/`. Test binaries
//! and runs of cargo that start at once wait for each other on a file lock. A mark written last
//! tells a whole environment from one whose making was interrupted; those are made anew.

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::python_file;

/// The packages need at least this one.
const OLDEST: (u32, u32) = (3, 11);

/// A virtual environment with the packages of a list in `tests/python/`.
#[derive(Debug)]
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// The interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.bin("python")
    }

    /// A command that the packages brought, such as `j`.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

/// The environment, made at the first call; `None`, with a line that says why, where there is no
/// suitable Python. With `RIGD_TEST_REQUIRE=all` that is a failure.
pub(crate) fn venv() -> Option<&'static Venv> {
    static VENV: OnceLock<Result<Venv, String>> = OnceLock::new();
    made(&VENV, "requirements.txt")
}

/// The same with those of an older release, `tests/python/requirements-older.txt`.
pub(crate) fn older_venv() -> Option<&'static Venv> {
    static VENV: OnceLock<Result<Venv, String>> = OnceLock::new();
    made(&VENV, "requirements-older.txt")
}

fn made(venv: &'static OnceLock<Result<Venv, String>>, list: &str) -> Option<&'static Venv> {
    match venv.get_or_init(|| make(list)) {
        Ok(venv) => Some(venv),
        Err(why) => {
            let required = std::env::var_os("RIGD_TEST_REQUIRE");
            assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

fn make(list: &str) -> Result<Venv, String> {
    let (python, version) = interpreter()?;
    let list = python_file(list);
    let mut hasher = DefaultHasher::new();
    fs::read(&list)
        .expect("the list is in the repository")
        .hash(&mut hasher);
    version.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());

    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python");
    fs::create_dir_all(&root).expect("target/ is writable");
    // Scripts of an environment hold its absolute path.
    let root = root.canonicalize().expect("just made");
    let lock = File::create(root.join(format!("{name}.lock"))).expect("target/ is writable");
    // Until the one that makes it is done, or dead; closing the file unlocks it.
    lock.lock().expect("the file system has locks");

    let venv = Venv(root.join(&name));
    let complete = venv.0.join("complete");
    if !complete.exists() {
        fs::remove_dir_all(&venv.0).ok();
        run(Command::new(&python).args(["-m", "venv"]).arg(&venv.0))
            .map_err(|why| format!("cannot make a virtual environment (python3-venv?): {why}"))?;
        // The list is complete, so that nothing may be chosen today that was not there yesterday.
        let install = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"];
        run(Command::new(venv.python())
            .args(install)
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(&list))?;
        File::create(&complete).expect("target/ is writable");
    }
    Ok(venv)
}

/// The oldest suitable interpreter that is installed, and what it says of itself.
fn interpreter() -> Result<(String, String), String> {
    let code = "import sys; print(*sys.version_info[:3]); print(sys.executable)";
    let mut seen = Vec::new();
    for name in ["python3.11", "python3.12", "python3.13", "python3"] {
        let Ok(version) = run(Command::new(name).args(["-c", code])) else {
            continue;
        };
        let numbers: Vec<u32> = version
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [major, minor, ..] if (major, minor) >= OLDEST => return Ok((name.into(), version)),
            _ => seen.push(format!("{name} is {version:?}")),
        }
    }
    let (major, minor) = OLDEST;
    Err(format!(
        "no Python {major}.{minor} or newer is installed; {}",
        seen.join(", ")
    ))
}

/// Runs a command to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|why| format!("{command:?}: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("{command:?} gave {}\n{said}", output.status))
}
