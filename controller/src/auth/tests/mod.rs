//! Good tokens are taken, and what callers are told otherwise.

mod forged;
mod metadata;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tonic::{Code, Status};
use uuid::Uuid;

use super::*;
use crate::model::{Client, Exporter, Presence, World};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_770_000_000) + Duration::from_nanos(123_456_789)
}

fn tokens() -> &'static (Keys, Tokens) {
    static ONE: std::sync::OnceLock<(Keys, Tokens)> = std::sync::OnceLock::new();
    ONE.get_or_init(|| {
        let keys = Keys::generate().unwrap();
        let tokens = Tokens::new(&keys, DEFAULT_LIFETIME).unwrap();
        (keys, tokens)
    })
}

fn subject(kind: Kind, name: &str) -> Subject {
    Subject {
        kind,
        namespace: "lab".into(),
        name: name.into(),
        uid: Uuid::from_u128(7),
    }
}

/// A lab with the client `bench` and the exporter `rig-3`, and a client `other`.
fn world() -> World {
    let mut world = World::default();
    let client = |uid| Client {
        uid: Uuid::from_u128(uid),
        labels: Default::default(),
        created: now() - DAY,
        tokens_from: now() - DAY,
    };
    world.clients.insert("bench".into(), client(7));
    world.clients.insert("other".into(), client(8));
    let exporter = Exporter {
        uid: Uuid::from_u128(7),
        labels: Default::default(),
        created: now() - DAY,
        tokens_from: now() - DAY,
        enabled: true,
        held: None,
        hosted: false,
        devices: vec![],
        presence: Presence::default(),
    };
    world.exporters.insert("rig-3".into(), exporter);
    world
}

fn issue(kind: Kind, name: &str) -> Token {
    tokens()
        .1
        .issue(&subject(kind, name), now() - DAY, now())
        .unwrap()
        .token
}

fn claimed(token: &Token, kind: Kind, name: &str) -> Claimed {
    Claimed {
        token: token.clone(),
        kind,
        namespace: "lab".into(),
        name: name.into(),
    }
}

/// Code and text, as they cross the wire.
fn outcome(claimed: &Claimed, wanted: Kind) -> Result<Identity, (Code, String)> {
    authenticate(&tokens().1, &world(), "lab", claimed, wanted, now()).map_err(|refusal| {
        let status = Status::from(refusal);
        (status.code(), status.message().to_owned())
    })
}

fn refused(token: &str) -> (Code, String) {
    outcome(
        &claimed(&Token::new(token), Kind::Client, "bench"),
        Kind::Client,
    )
    .unwrap_err()
}

fn payload(token: &Token) -> Value {
    let part = token.reveal().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn key_pair() -> KeyPair {
    let pkcs8 = tokens().0.pkcs8().unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Signed with our own key by another implementation, whatever it says.
fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_ec_der(&tokens().0.pkcs8().unwrap());
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
}

fn changed(key: &str, value: Value) -> String {
    let mut claims = payload(&issue(Kind::Client, "bench"));
    claims[key] = value;
    signed(&claims)
}

#[test]
fn a_good_token_says_who_it_is_and_has_the_claims_of_upstream() {
    let issued = tokens()
        .1
        .issue(&subject(Kind::Client, "bench"), now() - DAY, now())
        .unwrap();
    let identity = outcome(&claimed(&issued.token, Kind::Client, "bench"), Kind::Client).unwrap();
    assert_eq!(identity.subject, subject(Kind::Client, "bench"));
    assert_eq!((identity.issued, identity.expires), (now(), issued.expires));

    let claims = payload(&issued.token);
    assert_eq!(claims["iss"], "https://localhost:8085");
    assert_eq!(claims["aud"], json!(["jumpstarter"]));
    assert_eq!(
        claims["sub"],
        format!("client:lab:bench:{}", Uuid::from_u128(7))
    );
    assert_eq!(claims["iat"], 1_770_000_000_u64);
    assert_eq!(claims["exp"], 1_770_000_000_u64 + 365 * 86_400);
    let header = jsonwebtoken::decode_header(issued.token.reveal()).unwrap();
    assert_eq!(
        (header.kid.as_deref(), header.alg),
        (Some("default"), Algorithm::ES256)
    );
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let key = DecodingKey::from_ec_der(key_pair().public_key_raw());
    assert_eq!(
        other_reads(&issued.token, &key, Algorithm::ES256),
        payload(&issued.token)
    );
}

/// Claims whose signature another implementation finds good.
fn other_reads(token: &Token, key: &DecodingKey, algorithm: Algorithm) -> Value {
    let mut rules = Validation::new(algorithm);
    rules.validate_exp = false;
    rules.validate_aud = false;
    let read = jsonwebtoken::decode::<Value>(token.reveal(), key, &rules);
    read.unwrap().claims
}

#[test]
fn two_tokens_of_one_moment_differ_and_both_are_good() {
    let (one, two) = (
        issue(Kind::Exporter, "rig-3"),
        issue(Kind::Exporter, "rig-3"),
    );
    assert_ne!(one, two);
    for token in [one, two] {
        outcome(&claimed(&token, Kind::Exporter, "rig-3"), Kind::Exporter).unwrap();
    }
}

#[test]
fn tokens_and_keys_are_not_printed() {
    let token = issue(Kind::Client, "bench");
    let issued = tokens()
        .1
        .issue(&subject(Kind::Client, "bench"), now(), now())
        .unwrap();
    let all = format!(
        "{token} {token:?} {:?} {issued:?} {:?} {:?}",
        claimed(&token, Kind::Client, "bench"),
        tokens().0,
        tokens().1
    );
    assert!(!all.contains("eyJ") && !all.contains("MIG"), "{all}");
}

#[test]
fn an_old_token_is_told_to_have_expired() {
    let (tokens, token) = (&tokens().1, issue(Kind::Client, "bench"));
    let end = UNIX_EPOCH + Duration::from_secs(1_770_000_000) + DEFAULT_LIFETIME;
    tokens
        .verify(&token, end - Duration::from_nanos(1))
        .unwrap();
    let status = Status::from(tokens.verify(&token, end).unwrap_err());
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(
        status.message(),
        "oidc: verify token: oidc: token is expired (Token Expiry: 2027-02-02T02:40:00Z)"
    );
}

#[test]
fn a_revocation_takes_what_was_before_it_and_leaves_what_is_after() {
    let (tokens, mut world) = (&tokens().1, world());
    let old = tokens.verify(&issue(Kind::Client, "bench"), now()).unwrap();
    // A nanosecond later, in the same second.
    let from = now() + Duration::from_nanos(1);
    world.clients.get_mut("bench").unwrap().tokens_from = from;
    let claim = claimed(&Token::new(""), Kind::Client, "bench");
    let refusal = admit(&world, "lab", &claim, &old, Kind::Client).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "oidc: verify token: oidc: token was revoked"
    );
    assert_eq!(refusal.code(), Code::Unknown);

    // The new one is good even when the clock went back an hour in between.
    let back = now() - Duration::from_secs(3600);
    let token = tokens
        .issue(&subject(Kind::Client, "bench"), from, back)
        .unwrap()
        .token;
    let new = tokens.verify(&token, back).unwrap();
    admit(&world, "lab", &claim, &new, Kind::Client).unwrap();
}

#[test]
fn callers_with_a_good_token_are_told_what_is_wrong_with_their_claim() {
    let token = issue(Kind::Client, "bench");
    let told =
        |kind, name: &str, wanted| outcome(&claimed(&token, kind, name), wanted).unwrap_err();
    let mismatch = (Code::InvalidArgument, "object kind mismatch".to_owned());
    assert_eq!(told(Kind::Client, "bench", Kind::Exporter), mismatch);
    assert_eq!(
        told(Kind::Client, "other", Kind::Client),
        (
            Code::PermissionDenied,
            "permission denied for client lab/other".to_owned()
        )
    );
    assert_eq!(
        told(Kind::Client, "none", Kind::Client),
        (
            Code::Unknown,
            "client lab/none: Client.jumpstarter.dev \"none\" not found".to_owned()
        )
    );
    assert_eq!(
        told(Kind::Exporter, "rig-3", Kind::Exporter),
        (
            Code::PermissionDenied,
            "permission denied for exporter lab/rig-3".to_owned()
        )
    );
    let mut elsewhere = claimed(&token, Kind::Client, "bench");
    elsewhere.namespace = "elsewhere".into();
    assert_eq!(
        outcome(&elsewhere, Kind::Client).unwrap_err().1,
        "client elsewhere/bench: Client.jumpstarter.dev \"bench\" not found"
    );
}

#[test]
fn a_token_of_a_former_object_tells_only_of_that_name() {
    let mut former = subject(Kind::Client, "bench");
    former.uid = Uuid::from_u128(99);
    let token = tokens().1.issue(&former, now() - DAY, now()).unwrap().token;
    let told =
        |name: &str| outcome(&claimed(&token, Kind::Client, name), Kind::Client).unwrap_err();
    assert_eq!(told("bench").0, Code::PermissionDenied);
    assert_eq!(
        told("other"),
        told("none"),
        "no hint whether other names exist"
    );

    let gone = issue(Kind::Client, "deleted");
    let told = |name: &str| outcome(&claimed(&gone, Kind::Client, name), Kind::Client).unwrap_err();
    assert!(told("deleted").1.ends_with("not found"));
    assert_eq!(told("other"), told("none"));

    let mut far = subject(Kind::Client, "bench");
    far.namespace = "elsewhere".into();
    let token = tokens().1.issue(&far, now() - DAY, now()).unwrap().token;
    let told =
        |name: &str| outcome(&claimed(&token, Kind::Client, name), Kind::Client).unwrap_err();
    assert_eq!(told("bench"), told("none"));
}

#[test]
fn without_a_good_token_names_make_no_difference() {
    let keys = Keys::generate().unwrap();
    let foreign = Tokens::new(&keys, DEFAULT_LIFETIME).unwrap();
    let forged = foreign
        .issue(&subject(Kind::Client, "bench"), now() - DAY, now())
        .unwrap()
        .token;
    for token in [forged, Token::new(""), Token::new("x.y.z")] {
        let told = |name: &str, wanted| outcome(&claimed(&token, Kind::Client, name), wanted);
        let first = told("bench", Kind::Client).unwrap_err();
        assert_eq!(first, told("none", Kind::Client).unwrap_err());
        assert_eq!(first, told("bench", Kind::Exporter).unwrap_err());
    }
}

#[test]
fn stream_tokens_are_bound_to_lease_and_epoch_and_end() {
    let tokens = &tokens().1;
    let claim = StreamClaim {
        stream: Uuid::from_u128(5),
        lease: "l-1".into(),
        epoch: 3,
    };
    let token = tokens.issue_stream(&claim, now()).unwrap();
    assert_eq!(tokens.verify_stream(&token, now()), Ok(claim.clone()));
    let said = payload(&token);
    assert_eq!(said["iss"], "https://jumpstarter.dev/stream");
    assert_eq!(said["aud"], json!(["https://jumpstarter.dev/router"]));
    assert_eq!(said["sub"], Uuid::from_u128(5).to_string());
    assert_eq!(said["exp"], 1_770_000_000_u64 + 1800);
    // Some seconds back is a clock that was set, half an hour on is too late.
    tokens
        .verify_stream(&token, now() - Duration::from_secs(30))
        .unwrap();
    let status = Status::from(
        tokens
            .verify_stream(&token, now() + STREAM_LIFETIME)
            .unwrap_err(),
    );
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "invalid jwt token")
    );
    let other = Tokens::new(&Keys::generate().unwrap(), DEFAULT_LIFETIME).unwrap();
    assert_eq!(
        other.verify_stream(&token, now()),
        Err(Refusal::InvalidStream)
    );
}

#[test]
fn keys_outlive_a_restart_and_damaged_ones_are_told() {
    let (keys, tokens) = tokens();
    let text = serde_json::to_string(keys).unwrap();
    let again = Tokens::new(&serde_json::from_str(&text).unwrap(), DEFAULT_LIFETIME).unwrap();
    again.verify(&issue(Kind::Client, "bench"), now()).unwrap();
    let theirs = again
        .issue(&subject(Kind::Client, "bench"), now(), now())
        .unwrap()
        .token;
    tokens.verify(&theirs, now()).unwrap();

    for (part, name) in [("identity", "identity"), ("router", "router")] {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value[part] = json!("AAAA");
        let keys = serde_json::from_value(value).unwrap();
        let error = Tokens::new(&keys, DEFAULT_LIFETIME).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the {name} key of the state is damaged")
        );
    }
}
