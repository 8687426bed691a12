//! What texts ask for, and what is said of wrong ones.

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    pairs.collect()
}

#[test]
fn texts_become_canonical() {
    for (text, canonical) in [
        ("b=1,a=2", "a=2,b=1"),
        ("a==2", "a=2"),
        ("z!=b, z != a", "z notin (a,b)"),
        ("x in ( c,a )", "x in (a,c)"),
        ("x in (a)", "x in (a)"),
        ("!gone , there", "!gone,there"),
        ("a=1,a=1", "a=1"),
        ("jumpstarter.dev/name=rig", "jumpstarter.dev/name=rig"),
        ("empty=", "empty="),
        ("", "<none>"),
        ("  ", "<none>"),
    ] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.to_string(), canonical, "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in [
        "a=1,a=2",
        "a in b",
        "a in (b",
        "a)",
        "=x",
        "a=b c",
        "a/b/c=d",
        "-a=b",
        "a=-b",
        "a,,b",
        "a in (b) c",
        "a=(b)",
        "ä=b",
        "a in () x",
    ] {
        assert!(text.parse::<Selector>().is_err(), "{text}");
    }
    let long = "a".repeat(64);
    assert!(format!("{long}=b").parse::<Selector>().is_err());
}

#[test]
fn an_answer_quotes_little_of_what_is_wrong() {
    let long = "ä".repeat(7000);
    for text in [
        format!("{long})"),
        format!("{long}("),
        format!("a in ({long}) x"),
        format!("a in () {long}"),
        format!("{long} (b)"),
        format!("{long}=b"),
        format!("a={long}"),
        format!("a in ({long})"),
        format!("!{long}"),
    ] {
        let error = text.parse::<Selector>().unwrap_err().to_string();
        assert!(error.chars().count() < QUOTED + 200, "{error}");
        assert!(error.contains('ä') || error.contains("a in"), "{error}");
    }
}

#[test]
fn absent_labels_are_not_in_anything() {
    let rig = labels(&[("board", "rpi4"), ("zone", "b")]);
    for (text, wanted) in [
        ("board=rpi4", true),
        ("board=rpi5", false),
        ("board in (rpi4,rpi5),zone", true),
        ("zone!=b", false),
        ("rack!=1", true),
        ("rack notin (1,2)", true),
        ("!rack", true),
        ("!zone", false),
        ("rack", false),
        ("", true),
    ] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.matches(&rig), wanted, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_stays_the_same(text in "[a-c=!, ()inotx/.-]{0,24}") {
        if let Ok(selector) = text.parse::<Selector>() {
            let again: Selector = selector.to_string().parse().unwrap();
            prop_assert_eq!(again, selector);
        }
    }
}
