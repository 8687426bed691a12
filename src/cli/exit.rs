//! How a command fails.

use std::process::ExitCode;

use crate::config::Diagnostics;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// Bad arguments or configuration: a restart would not help.
    Usage(anyhow::Error),
    /// Mistakes in exporter files, each with its place.
    Config(Vec<Diagnostics>),
    /// Something failed while running.
    Runtime(anyhow::Error),
    /// The exporters ended with this code; the log has the reason.
    Ended(u8),
}

impl Failure {
    /// Bad usage with a text.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(text.into()))
    }

    /// The same for logs and answers to others.
    pub fn text(&self) -> String {
        match self {
            Self::Usage(error) | Self::Runtime(error) => format!("{error:#}"),
            Self::Config(files) => {
                let all: Vec<_> = files.iter().map(ToString::to_string).collect();
                all.join("\n")
            }
            Self::Ended(code) => format!("ended with exit code {code}"),
        }
    }

    /// Tells the user and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
            Self::Config(files) => {
                for diagnostics in files {
                    eprintln!("{}", styled(&diagnostics));
                }
                ExitCode::from(2)
            }
            Self::Ended(code) => ExitCode::from(code),
            Self::Runtime(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(1)
            }
        }
    }
}

fn styled(diagnostics: &Diagnostics) -> String {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        diagnostics.styled()
    } else {
        diagnostics.to_string()
    }
}
