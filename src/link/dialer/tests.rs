//! Real servers on loopback, good ones and bad ones.

use std::time::Duration;

use rcgen::{BasicConstraints, IsCa, KeyPair};
use rigd_proto::v1::{GetReportResponse, exporter_service_client::ExporterServiceClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tonic::Status;

use super::*;
use crate::{
    config::{self, GrpcOption},
    link::answer::{Answer, cause},
};
use servers::{
    Certificate, acceptor, authority, grpc, params, self_signed, server, signed, tls_server,
};

mod servers;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn dialer(trust: Trust) -> Dialer {
    Dialer::with(trust, ChannelOptions::default(), Limits::default(), None)
}

fn trusting(certificate: &Certificate) -> Dialer {
    dialer(Trust::pem(&certificate.pem).unwrap())
}

async fn call(channel: &Channel) -> Result<GetReportResponse, Status> {
    let mut client = ExporterServiceClient::new(channel.clone());
    let called = timeout(PATIENCE, client.get_report(())).await;
    called
        .expect("the call hangs")
        .map(tonic::Response::into_inner)
}

/// The server answers: with the authority that it was called by.
async fn works(dialer: &Dialer, endpoint: &Endpoint) -> String {
    let channel = dialer.connect(endpoint, Default::default()).await.unwrap();
    let once = call(&channel).await.unwrap_err();
    let again = call(&dialer.channel(endpoint)).await.unwrap_err();
    assert_eq!(once.code(), tonic::Code::Unimplemented, "{}", cause(&once));
    assert_eq!(once.message(), again.message());
    once.message().to_owned()
}

/// Both ways fail with this error, and the lazy one's status tells it.
async fn fails(dialer: &Dialer, endpoint: &Endpoint, phase: Phase) -> ConnectError {
    let failed = timeout(PATIENCE, dialer.connect(endpoint, Default::default())).await;
    let error = failed.expect("the connection hangs").unwrap_err();
    assert_eq!(error.phase, phase, "{error}");
    let text = error.to_string();
    assert!(text.contains(&endpoint.to_string()), "{text}");
    let status = call(&dialer.channel(endpoint)).await.unwrap_err();
    assert_eq!(cause(&status)[..20], text[..20]);
    match Answer::of(&status) {
        Answer::Refused(advice) => assert!(error.untrusted, "{advice}"),
        Answer::Passing => assert!(!error.untrusted, "{text}"),
        Answer::Unsupported => panic!("{text}"),
    }
    error
}

#[tokio::test]
async fn a_server_of_the_given_authority() {
    let ca = authority();
    let server = tls_server(&signed(params("localhost"), &ca)).await;
    let endpoint = server.endpoint("localhost");
    let authority = works(&trusting(&ca.0), &endpoint).await;
    assert_eq!(authority, endpoint.to_string());
}

#[tokio::test]
async fn an_address_in_the_certificate() {
    let ca = authority();
    let server = tls_server(&signed(params("127.0.0.1"), &ca)).await;
    works(&trusting(&ca.0), &server.endpoint("127.0.0.1")).await;
}

#[tokio::test]
async fn the_very_certificate_is_pinned_marked_as_an_authority_or_not() {
    let plain = self_signed(params("localhost"));
    let mut marked = params("localhost");
    marked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for certificate in [plain, self_signed(marked)] {
        let server = tls_server(&certificate).await;
        let dialer = trusting(&certificate);
        works(&dialer, &server.endpoint("localhost")).await;
        let error = fails(&dialer, &server.endpoint("127.0.0.1"), Phase::Tls).await;
        assert!(
            error
                .reason
                .contains("is for `localhost`, not for `127.0.0.1`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_of_another_authority() {
    let (ca, other) = (authority(), authority());
    let server = tls_server(&signed(params("localhost"), &ca)).await;
    let error = fails(
        &trusting(&other.0),
        &server.endpoint("localhost"),
        Phase::Tls,
    )
    .await;
    assert!(
        error.untrusted && error.reason.contains("`tls.ca`"),
        "{error}"
    );
}

#[tokio::test]
async fn the_systems_authorities_do_not_include_a_stranger() {
    let server = tls_server(&self_signed(params("localhost"))).await;
    let error = fails(
        &dialer(Trust::System),
        &server.endpoint("localhost"),
        Phase::Tls,
    )
    .await;
    // A host without any says that instead.
    assert!(
        error.untrusted && error.reason.contains("`tls.ca`"),
        "{error}"
    );
}

#[tokio::test]
async fn insecure_takes_any_chain_but_not_any_name() {
    let mut expired = params("localhost");
    expired.not_after = rcgen::date_time_ymd(2001, 2, 3);
    for certificate in [self_signed(params("localhost")), self_signed(expired)] {
        let server = tls_server(&certificate).await;
        works(&dialer(Trust::Any), &server.endpoint("localhost")).await;
        let error = fails(
            &dialer(Trust::Any),
            &server.endpoint("127.0.0.1"),
            Phase::Tls,
        )
        .await;
        assert!(
            error.untrusted && error.reason.contains("not for `127.0.0.1`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn dates_are_told_beside_our_clock() {
    let ca = authority();
    let mut expired = params("localhost");
    expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2001, 2, 3);
    let mut early = params("localhost");
    early.not_before = rcgen::date_time_ymd(4000, 1, 2);
    let pinned = self_signed(expired.clone());
    let year = prost_types::Timestamp::from(std::time::SystemTime::now()).to_string();
    for (certificate, dialer, date) in [
        (
            signed(expired, &ca),
            trusting(&ca.0),
            "expired at 2001-02-03",
        ),
        (signed(early, &ca), trusting(&ca.0), "from 4000-01-02"),
        (
            self_signed_again(&pinned),
            trusting(&pinned),
            "expired at 2001-02-03",
        ),
    ] {
        let server = tls_server(&certificate).await;
        let error = fails(&dialer, &server.endpoint("localhost"), Phase::Tls).await;
        assert!(error.reason.contains(date), "{error}");
        // A clock that is behind mends itself, a certificate that is too old does not.
        assert_eq!(error.untrusted, !date.contains("4000"), "{error}");
        assert!(
            error
                .reason
                .contains(&format!("clock of this host says {}", &year[..10])),
            "{error}"
        );
    }
}

/// The same certificate, to serve it.
fn self_signed_again(certificate: &Certificate) -> Certificate {
    Certificate {
        der: certificate.der.clone(),
        key: KeyPair::from_pem(&certificate.key.serialize_pem()).unwrap(),
        pem: certificate.pem.clone(),
    }
}

#[tokio::test]
async fn a_plain_text_server() {
    let http2 = server(grpc).await;
    let http1 = server(|mut io| async move {
        io.read_u8().await.ok();
        io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
    })
    .await;
    let closing = server(|io| async move { drop(io) }).await;
    for server in [http2, http1, closing] {
        let error = fails(
            &dialer(Trust::Any),
            &server.endpoint("localhost"),
            Phase::Tls,
        )
        .await;
        assert!(
            !error.untrusted && error.reason.contains("plain-text"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_web_server_is_no_grpc_server() {
    let certificate = self_signed(params("localhost"));
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let acceptor = acceptor(&certificate, alpn);
        let server = server(move |io| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut io) = acceptor.accept(io).await {
                    io.read_u8().await.ok();
                }
            }
        })
        .await;
        let error = fails(
            &trusting(&certificate),
            &server.endpoint("localhost"),
            Phase::Tls,
        )
        .await;
        assert!(error.reason.contains("HTTP/2"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let server = server(|mut io| async move {
        let mut sink = Vec::new();
        io.read_to_end(&mut sink).await.ok();
    })
    .await;
    let limits = Limits {
        tls: Duration::from_millis(50),
        ..Limits::default()
    };
    let dialer = dialer(Trust::Any).with_limits(limits);
    let error = fails(&dialer, &server.endpoint("127.0.0.1"), Phase::Tls).await;
    assert!(error.reason.contains("said nothing within 50ms"), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows() {
    let endpoint: Endpoint = "no-such-host.invalid:8082".parse().unwrap();
    let error = fails(&dialer(Trust::Any), &endpoint, Phase::LookUp).await;
    assert!(error.reason.contains("no-such-host.invalid"), "{error}");
}

#[tokio::test]
async fn a_port_where_nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint: Endpoint = format!("127.0.0.1:{port}").parse().unwrap();
    let error = fails(&dialer(Trust::Any), &endpoint, Phase::Tcp).await;
    assert!(error.reason.contains("nothing listens there"), "{error}");
}

#[tokio::test]
async fn a_tunnels_connection_is_made_once_and_a_channels_again() {
    let certificate = self_signed(params("localhost"));
    let acceptor = acceptor(&certificate, &[b"h2"]);
    // Every connection ends as soon as its call was answered.
    let server = server(move |io| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(io) = acceptor.accept(io).await {
                timeout(Duration::from_millis(300), grpc(io)).await.ok();
            }
        }
    })
    .await;
    let endpoint = server.endpoint("localhost");
    let dialer = trusting(&certificate);
    let once = dialer.connect(&endpoint, Default::default()).await.unwrap();
    assert_eq!(
        call(&once).await.unwrap_err().code(),
        tonic::Code::Unimplemented
    );
    let lost = timeout(PATIENCE, async {
        loop {
            let status = call(&once).await.unwrap_err();
            if cause(&status).contains("the connection was lost") {
                return status;
            }
        }
    });
    let lost = lost.await.expect("it goes on for ever");
    assert_eq!(Answer::of(&lost), Answer::Passing);
    assert_eq!(server.accepted(), 1);

    let channel = dialer.channel(&endpoint);
    assert_eq!(server.accepted(), 1);
    let again = timeout(PATIENCE, async {
        while server.accepted() < 3 {
            call(&channel).await.unwrap_err();
        }
    });
    again.await.expect("it never connects again");
}

#[tokio::test]
async fn names_can_be_overridden() {
    let certificate = self_signed(params("ctl.lab"));
    let server = tls_server(&certificate).await;
    let name = ("grpc.ssl_target_name_override", "ctl.lab");
    let authority = ("grpc.default_authority", "other.lab");
    for (options, called) in [
        (vec![name], "ctl.lab"),
        (vec![name, authority], "other.lab"),
    ] {
        let text = |text: &str| GrpcOption::Text(text.to_owned());
        let options = options.into_iter();
        let options = options.map(|(key, value)| (key.to_owned(), text(value)));
        let options = ChannelOptions::new(&options.collect());
        let trust = Trust::pem(&certificate.pem).unwrap();
        let dialer = Dialer::with(trust, options, Limits::default(), None);
        assert_eq!(works(&dialer, &server.endpoint("127.0.0.1")).await, called);
    }
}

#[tokio::test]
async fn telemetry_goes_as_upstream_has_it() {
    let certificate = self_signed(params("localhost"));
    let (tls, plain) = (tls_server(&certificate).await, server(grpc).await);
    let own = dialer(Trust::Any).for_telemetry(&certificate.pem).unwrap();
    works(&own, &tls.endpoint("localhost")).await;
    let insecure = dialer(Trust::Any).for_telemetry("").unwrap();
    works(&insecure, &plain.endpoint("localhost")).await;
    let secure = trusting(&certificate).for_telemetry("").unwrap();
    fails(&secure, &tls.endpoint("localhost"), Phase::Tls).await;
    assert!(dialer(Trust::Any).for_telemetry("junk").is_err());
}

#[test]
fn what_the_configuration_trusts() {
    let trust = |tls: &str, env: &[(&str, &str)]| {
        let text = format!("metadata: {{name: a}}\ntls: {tls}\n");
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = config::parse("x.yaml", &text, &|_| None).unwrap();
        let dialer = Dialer::new(&config, &env).unwrap();
        match &dialer.0.trust {
            Trust::System => "system".to_owned(),
            Trust::Bundle(bundle) => format!("{} given", bundle.len()),
            Trust::Any => "any".to_owned(),
            Trust::Plain => "plain".to_owned(),
        }
    };
    let pem = self_signed(params("a")).pem;
    let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    assert_eq!(trust("{}", &[]), "system");
    assert_eq!(trust(&format!("{{ca: {ca}}}"), &[]), "1 given");
    assert_eq!(trust("{insecure: true}", &[]), "any");
    assert_eq!(trust("{}", &[("JMP_GRPC_INSECURE", "1")]), "any");
    assert_eq!(trust("{}", &[("JUMPSTARTER_GRPC_INSECURE", "1")]), "any");
    assert_eq!(trust("{}", &[("JMP_GRPC_INSECURE", "0")]), "system");
}
