//! `EXPORTER[/PATH]`: an instance, as commands of people name it.

/// One instance of an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) exporter: String,
    /// Dotted path of the instance; empty for the only one of its kind.
    pub(super) path: String,
}

impl Target {
    /// Reads such a name; `kind` is what the instance is, and is the last name of an example.
    pub(super) fn parser(
        kind: &'static str,
    ) -> impl Fn(&str) -> Result<Self, String> + Clone + Send + Sync + 'static {
        move |text| {
            Self::parse(text).ok_or_else(|| {
                format!(
                    "write the exporter, or the exporter, a slash and the path of the {kind}, e.g. \
                     board-1/dutlink.{kind}"
                )
            })
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (exporter, path) = text.split_once('/').unwrap_or((text, ""));
        let named = !exporter.is_empty() && (text == exporter || !path.is_empty());
        if !named || (!path.is_empty() && path.split('.').any(str::is_empty)) {
            return None;
        }
        Some(Self {
            exporter: exporter.into(),
            path: path.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_exporter_and_path() {
        let parse = Target::parser("console");
        for (text, exporter, path) in [
            ("board", "board", ""),
            ("board/console", "board", "console"),
            ("board/dutlink.console", "board", "dutlink.console"),
        ] {
            let found = parse(text).unwrap();
            let found = (found.exporter.as_str(), found.path.as_str());
            assert_eq!(found, (exporter, path));
        }
        for text in ["", "/", "board/", "/console", "board/a..b", "board/.a"] {
            let error = parse(text).unwrap_err();
            assert!(error.ends_with("e.g. board-1/dutlink.console"), "{text:?}");
        }
    }
}
