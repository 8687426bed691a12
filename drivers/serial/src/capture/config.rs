//! What `capture:` of a console holds.

use std::path::PathBuf;

use rigd_driver::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

/// Smaller files are rotated more often than disks like.
const MIN_FILE: u64 = 64 * 1024;

/// Files with everything that the console says, also between leases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaptureConfig {
    /// Directory of the files, which is made if it is not there. A file is named
    /// `EXPORTER.INSTANCE-TIME.log`, so consoles may share a directory. They are readable for the
    /// daemon's user and group.
    pub directory: PathBuf,
    /// Bytes of one file; then the next one begins. At least 65536.
    #[serde(default = "default_max_file_size")]
    pub max_file_size: u64,
    /// Bytes of all files of this console together; the oldest are removed to keep it. At least
    /// twice `maxFileSize`.
    #[serde(default = "default_quota")]
    pub quota: u64,
    /// Whether each line begins with the time at which its first byte came (UTC, with
    /// milliseconds). Without, the files hold what the console said, byte by byte.
    #[serde(default = "default_timestamps")]
    pub timestamps: bool,
}

fn default_max_file_size() -> u64 {
    16 * 1024 * 1024
}

fn default_quota() -> u64 {
    256 * 1024 * 1024
}

fn default_timestamps() -> bool {
    true
}

impl CaptureConfig {
    /// What can be found wrong without touching the disk.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: String| Err(ConfigError::new(key, text));
        if !self.directory.is_absolute() {
            let shown = self.directory.display();
            return wrong(
                "capture.directory",
                format!("{shown} is no absolute path, e.g. /var/log/rigd"),
            );
        }
        if self.max_file_size < MIN_FILE {
            return wrong(
                "capture.maxFileSize",
                format!("files have at least {MIN_FILE} bytes"),
            );
        }
        if self.quota / 2 < self.max_file_size {
            let least = self.max_file_size.saturating_mul(2);
            return wrong(
                "capture.quota",
                format!("the quota must hold two files of maxFileSize, {least} bytes"),
            );
        }
        Ok(())
    }
}
