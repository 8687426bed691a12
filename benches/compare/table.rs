//! The table: figures of both sides, their ratio, and whether the goal is reached.

use std::fmt;

use crate::{Failure, markdown::markdown};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    /// Bytes a second.
    Rate,
    Bytes,
}

/// What rigd is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At most so many times the other side's figure.
    AtMostTimes(f64),
    /// At least so many times the other side's figure.
    AtLeastTimes(f64),
    /// At most this figure.
    AtMost(f64),
    /// Shown beside, for comparison.
    None,
}

/// A row: the figure of the other side, if there is one, and rigd's.
#[derive(Debug)]
struct Row {
    what: String,
    unit: Unit,
    goal: Goal,
    figures: Result<(Option<f64>, Option<f64>), String>,
}

/// All rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds what a measurement gave: the other side's figure and rigd's.
    pub(crate) fn add(
        &mut self,
        what: &str,
        unit: Unit,
        goal: Goal,
        figures: Result<(Option<f64>, Option<f64>), Failure>,
    ) {
        eprintln!("measured: {what}");
        self.0.push(Row {
            what: what.to_owned(),
            unit,
            goal,
            figures: figures.map_err(|failure| with_sources(&*failure)),
        });
    }

    /// The measurements that could not be done.
    pub(crate) fn failures(&self) -> Result<(), Failure> {
        let failed: Vec<String> = (self.0.iter())
            .filter_map(|row| {
                let failure = row.figures.as_ref().err()?;
                Some(format!("{}: {failure}", row.what))
            })
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("\n").into())
        }
    }
}

fn with_sources(mut error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        text = format!("{text}: {source}");
        error = source;
    }
    text
}

impl Unit {
    fn show(self, figure: f64) -> String {
        const MIB: f64 = 1024.0 * 1024.0;
        match self {
            Self::Seconds if figure < 0.000_999_5 => format!("{:.0} µs", figure * 1e6),
            Self::Seconds if figure < 0.1 => format!("{:.2} ms", figure * 1e3),
            Self::Seconds => format!("{:.0} ms", figure * 1e3),
            Self::Rate if figure < 100.0 * MIB => format!("{:.1} MiB/s", figure / MIB),
            Self::Rate => format!("{:.0} MiB/s", figure / MIB),
            Self::Bytes => format!("{:.1} MiB", figure / MIB),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let none = || "–".to_owned();
        let (other, rigd) = match &self.figures {
            Ok(figures) => *figures,
            Err(_) => (None, None),
        };
        let show = |figure: Option<f64>| figure.map_or_else(none, |it| self.unit.show(it));
        let ratio = other.zip(rigd).map(|(other, rigd)| rigd / other);
        let (goal, reached) = match self.goal {
            Goal::AtMostTimes(times) => (format!("≤ {times} ×"), ratio.map(|it| it <= times)),
            Goal::AtLeastTimes(times) => (format!("≥ {times} ×"), ratio.map(|it| it >= times)),
            Goal::AtMost(figure) => {
                let goal = format!("≤ {}", self.unit.show(figure));
                (goal, rigd.map(|it| it <= figure))
            }
            Goal::None => (none(), None),
        };
        let reached = match (&self.figures, reached) {
            (Err(_), _) => "failed".to_owned(),
            (Ok(_), Some(true)) => "yes".to_owned(),
            (Ok(_), Some(false)) => "**no**".to_owned(),
            (Ok(_), None) => none(),
        };
        let ratio = ratio.map_or_else(none, |it| match it {
            it if it < 0.1 => format!("{it:.3}"),
            it if it < 10.0 => format!("{it:.2}"),
            it => format!("{it:.0}"),
        });
        [
            self.what.clone(),
            show(other),
            show(rigd),
            ratio,
            goal,
            reached,
        ]
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "Python 0.9.0", "rigd", "ratio", "goal", "reached"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.0.iter().map(Row::cells));
        f.write_str(&markdown(&lines))
    }
}
