//! The keys that calls carry.

use tonic::metadata::MetadataMap;

use super::*;

fn map(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (key, value) in pairs {
        map.append(*key, value.parse().unwrap());
    }
    map
}

#[test]
fn metadata_is_read_as_upstream_reads_it() {
    const GOOD: [(&str, &str); 4] = [
        ("authorization", "bEaRer abc"),
        ("jumpstarter-namespace", "lab"),
        ("jumpstarter-kind", "Exporter"),
        ("jumpstarter-name", "rig-3"),
    ];
    assert_eq!(
        metadata(&map(&GOOD)).unwrap(),
        claimed(&Token::new("abc"), Kind::Exporter, "rig-3")
    );
    let told = |pairs: &[(&'static str, &str)]| {
        let status = metadata(&map(pairs)).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let bad = |text: &str| (Code::InvalidArgument, text.to_owned());
    assert_eq!(
        told(&[]),
        (
            Code::Unauthenticated,
            "missing authorization header".to_owned()
        )
    );
    let twice = [&GOOD[..], &GOOD[..1]].concat();
    assert_eq!(told(&twice), bad("multiple authorization headers"));
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  abc",
        "Bearer a b",
        "Basic abc",
        "Bearerabc",
    ] {
        assert_eq!(
            told(&[("authorization", value)]),
            bad("malformed authorization header")
        );
    }
    for missing in [1, 2] {
        let (key, _) = GOOD[missing];
        let mut pairs = GOOD.to_vec();
        pairs.remove(missing);
        assert_eq!(told(&pairs), bad(&format!("missing metadata: {key}")));
        pairs.extend([GOOD[missing], GOOD[missing]]);
        assert_eq!(told(&pairs), bad(&format!("multiple metadata: {key}")));
    }
    assert!(told(&GOOD[..3]).1.starts_with("resource name required"));
    let long = "n".repeat(254);
    let pairs = [&GOOD[..3], &[("jumpstarter-name", long.as_str())]].concat();
    assert_eq!(told(&pairs), bad("malformed metadata: jumpstarter-name"));
    let kind = [&GOOD[..2], &[("jumpstarter-kind", "Lease")], &GOOD[3..]].concat();
    assert_eq!(told(&kind), bad("object kind mismatch"));

    let status = stream_token(&map(&[])).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status
            .message()
            .starts_with("missing or invalid authorization: ")
    );
    assert_eq!(stream_token(&map(&GOOD)).unwrap(), Token::new("abc"));
}
