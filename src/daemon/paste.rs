//! Lines that people paste into a shell.

use crate::tree::Plan;

const POWER: &str = "jumpstarter_driver_power.client.PowerClient";

/// Arguments of `j` that show something at once: the first power switch is switched on.
pub(super) fn command(plan: &Plan) -> String {
    match plan.first_with_client(POWER) {
        Some(path) => format!("{} on", path.replace('.', " ")),
        None => "--help".into(),
    }
}

/// A word for a POSIX shell.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one() {
        for (word, wanted) in [
            ("/run/rigd/a.sock", "/run/rigd/a.sock"),
            ("board=rpi4,zone=b", "board=rpi4,zone=b"),
            ("/my rig", "'/my rig'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(word), wanted);
        }
    }
}
