//! Tokens that were made, cut or changed by others.

use proptest::prelude::*;

use super::*;

#[test]
fn tokens_of_others_are_refused() {
    let good = issue(Kind::Client, "bench");
    let parts: Vec<_> = good.reveal().split('.').collect();
    let (claims, pair) = (payload(&good), key_pair());
    let unknown = (Code::Unknown, "failed to authenticate token".to_owned());
    let verify = |why: &str| (Code::Unknown, format!("oidc: verify token: {why}"));

    // Not the issuer, or no token at all.
    assert_eq!(
        refused(&changed("iss", json!("https://dex.example"))),
        unknown
    );
    for text in [
        "",
        "a",
        "..",
        "a.b.c",
        &parts[..2].join("."),
        &"x".repeat(100_000),
    ] {
        assert_eq!(refused(text), unknown, "{text:.40}");
    }
    assert_eq!(
        refused(&format!("{}.{}.", parts[0], parts[1])),
        verify("failed to verify signature")
    );
    assert_eq!(
        refused(&changed("aud", json!(["else"]))),
        verify("oidc: expected audience \"jumpstarter\"")
    );
    for sub in [
        "bench",
        "client:lab:bench",
        "admin:lab:bench:1",
        "client:lab:bench:x:y",
    ] {
        let told = refused(&changed("sub", json!(sub)));
        assert_eq!(told, verify("the subject is no client and no exporter"));
    }
    for key in ["exp", "issued_ns", "sub", "aud"] {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(key);
        assert_eq!(
            refused(&signed(&claims)),
            verify("oidc: malformed jwt"),
            "{key}"
        );
    }

    // No signature, or one that anybody can make who has the public key.
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    for token in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
    ] {
        assert_eq!(refused(&token), verify("oidc: malformed jwt"));
    }
    let pem = pair.public_key_pem();
    for secret in [pair.public_key_raw(), pem.as_bytes()] {
        let key = EncodingKey::from_secret(secret);
        let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert_eq!(
            refused(&forged),
            verify("oidc: unexpected signature algorithm")
        );
    }
    // A stream's token is no identity, and an identity no stream's.
    let claim = StreamClaim {
        stream: Uuid::nil(),
        lease: "l".into(),
        epoch: 1,
    };
    let stream = tokens().1.issue_stream(&claim, now()).unwrap();
    assert_eq!(refused(stream.reveal()), unknown);
    assert_eq!(
        tokens().1.verify_stream(&good, now()),
        Err(Refusal::InvalidStream)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_changed_token_is_refused(position in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let token = issue(Kind::Client, "bench");
        let at = position.index(token.reveal().len());
        let mut text = token.reveal().to_owned();
        text.replace_range(at..=at, &to);
        prop_assume!(text != token.reveal());
        prop_assert_eq!(refused(&text).0, Code::Unknown);
        let claim = StreamClaim { stream: Uuid::nil(), lease: "l".into(), epoch: 1 };
        let mut text = tokens().1.issue_stream(&claim, now()).unwrap().reveal().to_owned();
        let at = position.index(text.len());
        let before = text.clone();
        text.replace_range(at..=at, &to);
        if text != before {
            let verdict = tokens().1.verify_stream(&Token::new(text), now());
            prop_assert_eq!(verdict, Err(Refusal::InvalidStream));
        }
    }

    #[test]
    fn a_cut_token_is_refused(position in any::<prop::sample::Index>()) {
        let token = issue(Kind::Client, "bench");
        let cut = position.index(token.reveal().len());
        prop_assert_eq!(refused(&token.reveal()[..cut]).0, Code::Unknown);
    }

    #[test]
    fn any_text_is_refused(text in ".{0,200}", parts in prop::collection::vec("[ -~]{0,60}", 3)) {
        prop_assert_eq!(refused(&text).0, Code::Unknown);
        let encoded: Vec<_> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        prop_assert_eq!(refused(&encoded.join(".")).0, Code::Unknown);
    }

    #[test]
    fn tokens_are_good_exactly_from_the_revocation_to_their_end(
        issued in 0_u64..4_000_000_000, from in 0_u64..4_000_000_000, late in 0_u64..63_072_000,
    ) {
        let (issued, from) = (UNIX_EPOCH + Duration::from_nanos(issued), UNIX_EPOCH + Duration::from_nanos(from));
        let mut world = world();
        world.clients.get_mut("bench").unwrap().tokens_from = from;
        let token = tokens().1.issue(&subject(Kind::Client, "bench"), UNIX_EPOCH, issued).unwrap();
        let now = issued + Duration::from_secs(late);
        let claim = claimed(&token.token, Kind::Client, "bench");
        let good = authenticate(&tokens().1, &world, "lab", &claim, Kind::Client, now).is_ok();
        prop_assert_eq!(good, issued >= from && now < token.expires);
    }
}
