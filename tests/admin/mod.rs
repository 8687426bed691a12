//! What is done on a host with commands and files alone.

mod files;
mod objects;
mod online;
mod state;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

pub(crate) use crate::embedded::{Site, commands::said, value};
use crate::{
    embedded::commands::Said,
    support::{jmp::Python, python::Venv},
};

impl Site {
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.home(name), text).unwrap();
    }

    /// Runs `rigd ARGS` to its end, with this on standard input.
    pub(crate) fn rigd_reads(&self, args: &[&str], input: &str) -> Said {
        said(self.command(args), input)
    }

    /// A command of the released packages, to its good end.
    #[track_caller]
    pub(crate) fn jmp(&self, venv: &Venv, args: &[&str]) -> String {
        let home = self.settings.path("home");
        let mut jmp = Python::start_at(
            venv,
            &home,
            "jmp",
            args,
            &[("JMP_CLIENT_CONFIG_HOME", jumpstarter(&home).as_str())],
        );
        jmp.succeeded()
    }
}

/// Where `jmp` looks without any variable.
fn jumpstarter(home: &Path) -> String {
    let path = home.join(".config/jumpstarter");
    path.to_str().unwrap().to_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
