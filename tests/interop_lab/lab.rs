//! A lab for one test: the real `rigd` with its embedded controller, and clients of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    commands::Commands,
    embedded::{Site, commands::said, value},
    support::{
        daemon::Daemon,
        jmp::Python,
        python::{Venv, venv},
    },
};

/// A daemon that runs until this is dropped.
pub(crate) struct Lab {
    pub(crate) venv: &'static Venv,
    pub(crate) daemon: Daemon,
    pub(crate) site: Site,
}

impl Lab {
    /// One without exporters, or `None` where Python is missing.
    pub(crate) fn empty() -> Option<Self> {
        Self::empty_with(&[])
    }

    /// The same with these flags.
    pub(crate) fn empty_with(flags: &[&str]) -> Option<Self> {
        let venv = venv()?;
        let site = Site::new();
        let daemon = site.controller(flags);
        daemon.expect_line("start of the controller", |line| {
            line.contains("The embedded controller serves.")
        });
        Some(Self { venv, daemon, site })
    }

    /// One with these exporters, each with its own name as its label `board`; all can be leased.
    pub(crate) fn with(exporters: &[&str]) -> Option<Self> {
        let site = Site::new();
        for name in exporters {
            site.exporter(name, &format!("labels: {{board: {name}}}\n"));
        }
        Self::of(site, exporters)
    }

    /// One with an exporter whose file has this text.
    pub(crate) fn with_file(exporter: &str, text: &str) -> Option<Self> {
        let site = Site::new();
        fs::write(site.file(exporter), text).unwrap();
        Self::of(site, &[exporter])
    }

    fn of(site: Site, exporters: &[&str]) -> Option<Self> {
        let venv = venv()?;
        let daemon = site.run();
        for name in exporters {
            let ready = format!("Exporter {name} is ready.");
            daemon.expect_line("exporter", |line| line.contains(&ready));
        }
        Some(Self { venv, daemon, site })
    }

    /// The configuration of the lab's own client.
    pub(crate) fn own(&self) -> PathBuf {
        self.site.settings.path("state/client")
    }

    /// Makes a client, with a configuration of its own; where that is.
    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        let configuration = self.site.home(name);
        self.saves(&configuration, &["create", "client", name]);
        configuration
    }

    /// `rigd controller … --save` of somebody with this configuration.
    #[track_caller]
    pub(crate) fn saves(&self, configuration: &Path, args: &[&str]) {
        let args = [&["controller"], args, &["--save"]].concat();
        let mut command = self.site.command(&args);
        command.env("JMP_CLIENT_CONFIG_HOME", configuration);
        said(command, "").ok();
    }

    /// Makes an exporter for another process, with a power switch of that type; its file.
    #[track_caller]
    pub(crate) fn exporter_file(&self, name: &str, label: &str, power: &str) -> PathBuf {
        let file = self.site.home(&format!("{name}.yaml"));
        let out = file.to_str().unwrap();
        let create = ["controller", "create", "exporter", name];
        self.site
            .ok(&[&create[..], &["--label", label, "--out", out]].concat());
        let export = format!("export: {{power: {{type: {power}}}}}");
        edit(&file, "export: {}", &export);
        file
    }

    /// Command lines of the client with this configuration.
    pub(crate) fn commands(&self, configuration: &Path) -> Commands {
        Commands::start(self.venv, configuration, &self.site.settings.path("home"))
    }

    /// A program of the released packages, for the lab's own client.
    pub(crate) fn start(&self, program: &str, args: &[&str]) -> Python {
        self.start_of(self.venv, program, args)
    }

    /// The same of packages of another release.
    pub(crate) fn start_of(&self, venv: &Venv, program: &str, args: &[&str]) -> Python {
        let own = self.own();
        let variables = [("JMP_CLIENT_CONFIG_HOME", own.to_str().unwrap())];
        let home = self.site.settings.path("home");
        Python::start_at(venv, &home, program, args, &variables)
    }

    /// `jmp shell` with these arguments, and `j power on` in it.
    pub(crate) fn shell(&self, args: &str) -> Python {
        self.shell_of(self.venv, args)
    }

    /// The same of packages of another release.
    pub(crate) fn shell_of(&self, venv: &Venv, args: &str) -> Python {
        let line = format!("shell {args} -- j power on");
        self.start_of(venv, "jmp", &line.split(' ').collect::<Vec<_>>())
    }

    /// Whether that exporter of the daemon was switched on.
    pub(crate) fn switched_on(&self, exporter: &str) -> bool {
        let exporter = format!("exporter=\"{exporter}\"");
        let text = self.daemon.output.text();
        let mut lines = text.lines();
        lines.any(|line| line.contains(&exporter) && line.ends_with(": power on"))
    }
}

/// Replaces the first such text of a file, which is in it.
#[track_caller]
pub(crate) fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// The token of a file.
#[track_caller]
pub(crate) fn token(file: &Path) -> String {
    value(&fs::read_to_string(file).unwrap(), "token").to_owned()
}
