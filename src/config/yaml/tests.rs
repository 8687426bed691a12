//! The tree: places, styles, aliases, merge keys, bounds.

use proptest::prelude::*;

use super::*;

fn tree(text: &str) -> Node {
    let (root, problems) = parse_tree(text);
    assert_eq!(problems, []);
    root.unwrap()
}

fn messages(text: &str) -> Vec<String> {
    parse_tree(text)
        .1
        .into_iter()
        .map(|problem| problem.message)
        .collect()
}

#[test]
fn values_and_keys_know_their_places_and_how_they_were_written() {
    let text = "ä:\n  b: 'x y'\n  c: on\n  d: |\n    z\n  e: [1, {f: 2}]\n  g:\n";
    let root = tree(text);
    let inner = root.get("ä").unwrap();
    let b = inner.get("b").unwrap();
    assert_eq!(
        (&text[b.span.range()], b.span.line, b.span.column),
        ("'x y'", 2, 6)
    );
    assert_eq!((b.as_str(), &b.style), (Some("x y"), &Style::Quoted));
    assert_eq!(inner.get("c").unwrap().style, Style::Plain("on".into()));
    assert_eq!(inner.get("d").unwrap().style, Style::Block);
    assert_eq!(inner.get("d").unwrap().as_str(), Some("z\n"));
    let e = inner.get("e").unwrap();
    assert_eq!(
        (&text[e.span.range()], &e.style),
        ("[1, {f: 2}]", &Style::Flow)
    );
    let (key, value) = &inner.entries().unwrap()[4];
    assert_eq!(
        (key.span.line, key.span.column, value.head),
        (7, 3, key.span)
    );
    assert!(value.is_null());
    assert_eq!(inner.head, root.entries().unwrap()[0].0.span);
}

#[test]
fn quotes_and_tags_decide_before_the_words() {
    let json = tree(
        "a: 'on'\nb: \"10\"\nc: !!str 10\nd: !!int 0x10\ne: !!float 1\nf: ! 7\ng: 2001-01-01\n",
    )
    .to_json();
    let expected = serde_json::json!({"a": "on", "b": "10", "c": "10", "d": 16, "e": 1.0, "f": "7", "g": "2001-01-01"});
    assert_eq!(json, expected);
}

/// The order was checked against PyYAML 6.0.3.
#[test]
fn merge_keys_give_way_and_keep_pyyamls_order() {
    let text =
        "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {d: 5, <<: [*x, *y], c: 6}\nq: {'<<': 1}\n";
    let root = tree(text);
    let z: Vec<_> = root
        .get("z")
        .unwrap()
        .entries()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str().unwrap(), v.to_json()))
        .collect();
    let expected = [
        ("b", 2.into()),
        ("c", 6.into()),
        ("a", 1.into()),
        ("d", 5.into()),
    ];
    assert_eq!(z, expected);
    assert!(root.get("q").unwrap().get("<<").is_some());
}

#[test]
fn duplicate_keys_name_both_places_also_in_other_spellings() {
    let (_, problems) = parse_tree("a: 1\nb: {0x1: x, 1: y}\n'a': 2\n");
    let found: Vec<_> = problems
        .iter()
        .map(|p| {
            (
                p.message.as_str(),
                p.span.unwrap().line,
                p.related[0].0.line,
            )
        })
        .collect();
    assert_eq!(
        found,
        [("duplicate key `1`", 2, 2), ("duplicate key `a`", 3, 1)]
    );
}

#[test]
fn bombs_and_circles_are_refused() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert_eq!(
        messages(&bomb),
        ["the file grows too large here when its aliases are expanded"]
    );
    assert_eq!(
        messages("a: &a [*a]"),
        ["this alias stands inside of what it refers to"]
    );
    let deep = format!("a: {}1{}", "{a: ".repeat(150), "}".repeat(150));
    assert_eq!(messages(&deep), ["nested deeper than 96 levels"]);
    let mut stairs = "b0: &b0 {x: 1}\n".to_owned();
    for level in 1..150 {
        stairs.push_str(&format!("b{level}: &b{level} {{x: *b{}}}\n", level - 1));
    }
    assert_eq!(messages(&stairs), ["nested deeper than 96 levels"]);
}

#[test]
fn anchors_inside_of_anchors_stay_cheap() {
    let nested = (0..90).fold("1".to_owned(), |inner, level| {
        format!("&a{level} [{inner}]")
    });
    assert_eq!(messages(&format!("a: {nested}")), Vec::<String>::new());
}

#[test]
fn an_alias_brings_its_secret_along() {
    let root = tree("x: &t hidden\ntoken: *t\nother: {password: {a: [1]}}\n");
    assert!(root.get("x").unwrap().secret && root.get("token").unwrap().secret);
    assert!(
        root.get("other")
            .unwrap()
            .get("password")
            .unwrap()
            .get("a")
            .unwrap()
            .secret
    );
    assert!(!root.get("other").unwrap().secret);
}

#[test]
fn an_open_bracket_is_shown() {
    let (root, problems) = parse_tree("a: [1, 2\nb: 3\n");
    assert!(root.is_none());
    assert_eq!(
        (
            problems[0].span.unwrap().line,
            problems[0].related[0].0.start
        ),
        (2, 3)
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s)[\\PC\n\t \"'\\[\\]{}:,&*!|>?#%@`<~-]{0,200}") {
        let (root, problems) = parse_tree(&text);
        if let Some(root) = root {
            root.walk(&mut |node| assert!(text.get(node.span.range()).is_some(), "{:?}", node.span));
        } else {
            prop_assert!(problems.len() <= MAX_PROBLEMS + 1);
        }
    }

    #[test]
    fn yaml_shaped_text_neither(lines in prop::collection::vec("( {0,6})(- |\\? )?([a-c]|<<|'x'|&a|\\*a): ?(\\[|\\]|\\{|\\}|&[ab] x|\\*[ab]|\\||>-|1:30|\"\\\\x|!!int|on|# c)?", 0..12)) {
        parse_tree(&lines.join("\n"));
    }

    /// The expressions are those of PyYAML's resolver.
    #[test]
    fn whole_numbers_of_every_form(text in "[-+]?(0b[01_]{0,9}[01]|0[0-7_]{0,9}|[1-9][0-9_]{0,9}|0x[0-9a-fA-F_]{0,9}[0-9a-f]|[1-9][0-9_]{0,3}(:[0-5]?[0-9]){1,4})") {
        prop_assert!(matches!(scalar::resolve(&text), Scalar::Int(_)), "{:?}", scalar::resolve(&text));
    }

    #[test]
    fn floats_of_every_form(text in "[-+]?[0-9][0-9_]{0,5}\\.[0-9_]{0,5}([eE][-+][0-9]{1,3})?|\\.[0-9][0-9_]{0,5}([eE][-+][0-9]{1,3})?|[-+]?[0-9][0-9_]{0,3}(:[0-5]?[0-9]){1,3}\\.[0-9_]{0,3}|[-+]?\\.(inf|Inf|INF)") {
        prop_assert!(matches!(scalar::resolve(&text), Scalar::Float(_)), "{:?}", scalar::resolve(&text));
    }

    #[test]
    fn words_stay_strings(text in "[a-zA-Z/][a-zA-Z0-9_./:-]{7,20}") {
        prop_assert_eq!(scalar::resolve(&text), Scalar::Str);
    }
}
