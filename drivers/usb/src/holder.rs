//! Which other program has a file open, as far as this user may know.

use std::{fs, path::Path};

/// Processes that are looked at: more run on no lab host, and an error text is not worth more.
const MAX_PROCESSES: usize = 4096;

/// `ykushcmd (pid 4711)`, or nothing when it cannot be seen.
pub(crate) fn of(node: &Path) -> Option<String> {
    let own = std::process::id();
    for process in fs::read_dir("/proc").ok()?.flatten().take(MAX_PROCESSES) {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == own || !has_open(&process.path(), node) {
            continue;
        }
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        return Some(format!("{} (pid {pid})", name.trim()));
    }
    None
}

fn has_open(process: &Path, node: &Path) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let mut links = files.flatten().map(|file| fs::read_link(file.path()));
    links.any(|link| link.is_ok_and(|link| link == node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn another_program_is_named_and_this_one_is_not() {
        let path = std::env::temp_dir().join(format!("rigd-holder-{}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        assert_eq!(of(&path), None);
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(file.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let found = of(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(found, Some(format!("sleep (pid {})", child.id())));
    }
}
