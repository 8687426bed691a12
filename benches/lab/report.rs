//! The tables: how figures grow with the number of exporters, what is the most, and the goals.

use std::fmt;

use crate::{markdown::markdown, running::Figures, saturation::Saturation, throughput::Rates};

/// For half of all acquisitions at the largest number of exporters, in seconds.
const ACQUIRED_GOAL: f64 = 0.010;
/// Of the controller, for each idle exporter at the largest number, in bytes.
const MEMORY_GOAL: f64 = 150.0 * 1024.0;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// A sync of the disk with the state, in seconds.
    pub(crate) sync: f64,
    pub(crate) sizes: Vec<Figures>,
    pub(crate) saturation: Option<Saturation>,
    pub(crate) rates: Vec<Rates>,
}

fn ms(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / (1024.0 * 1024.0))
}

fn kib(bytes: f64) -> String {
    format!("{:.0} KiB", bytes / 1024.0)
}

impl Report {
    /// A figure at each size; sizes that were left out have none.
    fn row(&self, what: &str, show: impl Fn(&Figures) -> String, goal: &str) -> [String; 5] {
        let mut cells = self.sizes.iter().map(show);
        let mut next = || cells.next().unwrap_or_else(|| "–".to_owned());
        [what.to_owned(), next(), next(), next(), goal.to_owned()]
    }

    fn growth(&self) -> Vec<[String; 5]> {
        let row = |what: &str, show: &dyn Fn(&Figures) -> String| self.row(what, show, "–");
        let last = self.sizes.last();
        let reached = |figure: Option<f64>, goal: f64, text: &str| match figure {
            Some(figure) if figure <= goal => format!("≤ {text}: yes"),
            _ => format!("≤ {text}: **no**"),
        };
        let acquired = |figures: &Figures| figures.of(|turn| turn.acquired, 50);
        let goal_acquired = reached(last.map(acquired), ACQUIRED_GOAL, "10 ms");
        let goal_memory = reached(last.map(Figures::each), MEMORY_GOAL, "150 KiB");
        vec![
            self.row("exporters", |it| it.exporters.to_string(), "goal"),
            self.row("acquisition, p50", |it| ms(acquired(it)), &goal_acquired),
            row(
                "acquisition, p99",
                &|it| ms(it.of(|turn| turn.acquired, 99)),
            ),
            row("… and dialled and called, p50", &|it| {
                ms(it.of(|turn| turn.called, 50))
            }),
            row("… and released: all of it, p50", &|it| {
                ms(it.of(|turn| turn.whole, 50))
            }),
            row("all of it, p99", &|it| ms(it.of(|turn| turn.whole, 99))),
            row("CPU of the controller", &|it| percent(it.cpu)),
            row("CPU of the load", &|it| percent(it.driver_cpu)),
            row("CPU of the controller, nobody calls", &|it| {
                percent(it.idle_cpu)
            }),
            row("memory without exporters, RSS", &|it| mib(it.empty)),
            row("memory with them, RSS", &|it| mib(it.full)),
            self.row("growth for each", |it| kib(it.each()), &goal_memory),
            row("memory after the load, RSS", &|it| mib(it.used)),
            row("until all had joined", &|it| {
                format!("{:.0} ms", it.joined * 1e3)
            }),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", markdown(&self.growth()))?;
        let largest = self.sizes.last().map_or(0, |it| it.exporters);
        let mut most = vec![["what", "figure"].map(str::to_owned)];
        if let Some(saturation) = &self.saturation {
            most.push([
                format!("highest rate kept up with, {largest} exporters"),
                format!("{:.0} a second", saturation.rate),
            ]);
            for (what, text) in [
                ("… acquisition, p50", ms(saturation.acquired)),
                ("… all of it, p50", ms(saturation.whole)),
                ("… CPU of the controller", percent(saturation.cpu)),
                ("… CPU of the load", percent(saturation.driver_cpu)),
            ] {
                most.push([what.to_owned(), text]);
            }
        }
        most.push(["write and sync of 4 KiB, p50".to_owned(), ms(self.sync)]);
        writeln!(f, "{}", markdown(&most))?;
        let head = ["tunnels", "bare echo", "through the router", "ratio"];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rates.iter().map(|rates| {
            [
                rates.tunnels.to_string(),
                format!("{}/s", mib(rates.bare)),
                format!("{}/s", mib(rates.router)),
                format!("{:.2}", rates.router / rates.bare),
            ]
        }));
        f.write_str(&markdown(&lines))
    }
}
