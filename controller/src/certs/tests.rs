//! Handshakes with what is made, renewed and given.

use std::{io, net::Ipv4Addr, os::unix::fs::PermissionsExt, time::UNIX_EPOCH};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection,
    client::danger::ServerCertVerifier,
    pki_types::{ServerName, UnixTime},
};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn source(directory: &Path, names: &[&str]) -> Source {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Source::Made {
        directory: directory.to_owned(),
        names,
    }
}

fn open(directory: &Path, names: &[&str], now: SystemTime) -> Certs {
    Certs::open(source(directory, names), now).unwrap()
}

fn roots(ca: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for one in certificates(ca).unwrap() {
        roots.add(one).unwrap();
    }
    Arc::new(roots)
}

/// Whether a client that trusts `ca` takes the certificate in use for `name`, at that time.
fn takes(certs: &Certs, ca: &str, name: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots(ca), provider).build();
    let chain = certs.resolver.current();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap());
    let (leaf, rest) = chain.key.cert.split_first().unwrap();
    verifier
        .unwrap()
        .verify_server_cert(leaf, rest, &name, &[], now)
        .map(drop)
}

fn leaf(certs: &Certs) -> Vec<u8> {
    certs.resolver.current().key.cert[0].to_vec()
}

#[test]
fn clients_that_trust_the_authority_take_every_name_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["Lab.Example.", "192.0.2.7", "2001:DB8:0::1"];
    let certs = open(dir.path(), &names, now());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let names = [
        "localhost",
        "127.0.0.1",
        "::1",
        "lab.example",
        "192.0.2.7",
        "2001:db8::1",
        host.trim(),
    ];
    for name in names {
        takes(&certs, &certs.ca_pem(), name, now()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    takes(&certs, &certs.ca_pem(), "other.example", now()).unwrap_err();
    for name in names {
        assert!(certs.covers(name), "{name}");
    }
    for name in ["other.example", "", "a b", "[::1]", "192.0.2.8"] {
        assert!(!certs.covers(name), "{name}");
    }
    for name in ["localhost", "lab.example", "192.0.2.7"] {
        assert!(
            certs.names().iter().any(|one| one == name),
            "{:?}",
            certs.names()
        );
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path(), &[], now());
    takes(&certs, &other.ca_pem(), "localhost", now()).unwrap_err();
    for file in ["ca.pem", "ca-key.pem", "server.pem"] {
        let mode = std::fs::metadata(dir.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let ca = STANDARD.decode(certs.ca_base64()).unwrap();
    assert!(ca.ends_with(b"-----END CERTIFICATE-----\n") && !format!("{certs:?}").contains("KEY"));
}

#[test]
fn the_certificate_stays_until_a_third_of_its_life_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let certs = open(dir.path(), &[], now());
    let (first, ca) = (leaf(&certs), certs.ca_pem());
    assert_eq!(certs.refresh(now() + 240 * DAY).unwrap(), Refreshed::Same);
    assert_eq!(
        leaf(&open(dir.path(), &[], now() + 240 * DAY)),
        first,
        "after a restart"
    );
    takes(&certs, &ca, "localhost", now() + 364 * DAY).unwrap();
    takes(&certs, &ca, "localhost", now() + 366 * DAY).unwrap_err();

    assert_eq!(
        certs.refresh(now() + 245 * DAY).unwrap(),
        Refreshed::Renewed
    );
    assert_ne!(leaf(&certs), first);
    takes(&certs, &ca, "localhost", now() + 600 * DAY).unwrap();
    assert_eq!(certs.refresh(now() + 245 * DAY).unwrap(), Refreshed::Same);
    assert_eq!(
        certs.refresh(now()).unwrap(),
        Refreshed::Renewed,
        "the clock was set back"
    );
    takes(&certs, &ca, "localhost", now()).unwrap();
}

#[test]
fn other_names_make_another_certificate_of_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), &["a.example", "b.example"], now());
    let same = open(dir.path(), &["b.example", "a.example", "B.EXAMPLE"], now());
    assert_eq!(leaf(&first), leaf(&same));
    let other = open(dir.path(), &["c.example"], now());
    assert_eq!(first.ca_pem(), other.ca_pem());
    takes(&other, &first.ca_pem(), "c.example", now()).unwrap();
    takes(&other, &first.ca_pem(), "a.example", now()).unwrap_err();
    for name in ["", "a b", "ctl:8082", "https://ctl", "ä.example"] {
        let error = Certs::open(source(dir.path(), &[name]), now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{name:?} is no host name and no address")
        );
    }
}

#[test]
fn what_to_trust_is_known_without_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let early = source(dir.path(), &[]).ca_pem(now()).unwrap();
    assert!(!dir.path().join("server.pem").exists());
    let certs = open(dir.path(), &["lab.example"], now());
    assert_eq!(certs.ca_pem(), early);
    // With other names it leaves the certificate of the port as it is.
    let before = std::fs::read(dir.path().join("server.pem")).unwrap();
    assert_eq!(source(dir.path(), &[]).ca_pem(now()).unwrap(), early);
    assert_eq!(
        std::fs::read(dir.path().join("server.pem")).unwrap(),
        before
    );
}

#[test]
fn the_authority_lasts_ten_years_and_its_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path(), &[], now()).ca_pem();
    let late = now() + 3600 * DAY;
    let certs = open(dir.path(), &[], late);
    assert_eq!(certs.ca_pem(), ca);
    takes(&certs, &ca, "localhost", late).unwrap();
    let last = leaf(&certs);
    assert_eq!(
        certs.refresh(late + 20 * DAY).unwrap(),
        Refreshed::Same,
        "not over and over"
    );
    assert_eq!(leaf(&certs), last);
    let error = certs.refresh(late + 60 * DAY).unwrap_err().to_string();
    assert!(
        error.starts_with("the certificate authority in "),
        "{error}"
    );
}

#[test]
fn a_host_that_does_not_know_the_time_makes_what_is_good_later() {
    let dir = tempfile::tempdir().unwrap();
    let certs = open(dir.path(), &[], UNIX_EPOCH);
    let ca = certs.ca_pem();
    takes(
        &certs,
        &ca,
        "localhost",
        UNIX_EPOCH + Duration::from_secs(1_790_000_000),
    )
    .unwrap();
    assert_eq!(certs.refresh(now()).unwrap(), Refreshed::Renewed);
    takes(&certs, &ca, "localhost", now()).unwrap();
    // A clock far ahead, too.
    let dir = tempfile::tempdir().unwrap();
    let certs = open(dir.path(), &[], now() + 20_000 * DAY);
    assert_eq!(certs.refresh(now()).unwrap(), Refreshed::Renewed);
    takes(&certs, &certs.ca_pem(), "localhost", now()).unwrap();
}

#[test]
fn files_that_are_lost_or_do_not_fit_are_told_and_a_bad_certificate_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let first = open(dir.path(), &[], now());
    for bad in [
        "",
        "nonsense",
        &std::fs::read_to_string(file("ca.pem")).unwrap(),
    ] {
        std::fs::write(file("server.pem"), bad).unwrap();
        takes(
            &open(dir.path(), &[], now()),
            &first.ca_pem(),
            "localhost",
            now(),
        )
        .unwrap();
    }
    let told = || {
        Certs::open(source(dir.path(), &[]), now())
            .unwrap_err()
            .to_string()
    };
    let key = std::fs::read(file("ca-key.pem")).unwrap();
    std::fs::remove_file(file("ca-key.pem")).unwrap();
    assert!(told().contains("ca.pem: the certificate is there, and its key ca-key.pem is not"));
    std::fs::write(file("ca-key.pem"), "nonsense").unwrap();
    assert!(told().contains("ca-key.pem: there is no P-256 key in PEM"));
    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path(), &[], now());
    std::fs::copy(elsewhere.path().join("ca-key.pem"), file("ca-key.pem")).unwrap();
    assert!(told().contains("ca.pem: the certificate is not that of ca-key.pem"));
    // Killed between the two: the certificate is made for the key that is there.
    std::fs::write(file("ca-key.pem"), key).unwrap();
    std::fs::remove_file(file("ca.pem")).unwrap();
    let again = open(dir.path(), &[], now());
    takes(&again, &again.ca_pem(), "localhost", now()).unwrap();
}

#[test]
fn certificates_of_the_site_are_used_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let write = |name: &str| {
        let one = rcgen::generate_simple_self_signed(["ctl.example".to_owned()]).unwrap();
        std::fs::write(file(&format!("{name}.pem")), one.cert.pem()).unwrap();
        std::fs::write(
            file(&format!("{name}.key")),
            one.signing_key.serialize_pem(),
        )
        .unwrap();
    };
    write("a");
    let given = |key: &str, ca: Option<&str>| Source::Given {
        certificate: file("a.pem"),
        key: file(key),
        ca: ca.map(file),
    };
    let certs = Certs::open(given("a.key", None), now()).unwrap();
    assert_eq!(
        certs.ca_pem(),
        std::fs::read_to_string(file("a.pem")).unwrap()
    );
    let first = leaf(&certs);
    assert_eq!(certs.refresh(now()).unwrap(), Refreshed::Same);
    let (first_key, first_ca) = (std::fs::read(file("a.key")).unwrap(), certs.ca_pem());
    write("a");
    // What clients have does not go with it any more.
    assert_eq!(certs.refresh(now()).unwrap(), Refreshed::Distrusted);
    let second = leaf(&certs);
    assert_ne!(second, first);
    takes(&certs, &first_ca, "ctl.example", now()).unwrap_err();
    takes(&certs, &certs.ca_pem(), "ctl.example", now()).unwrap();
    let ca = STANDARD.encode(std::fs::read(file("a.pem")).unwrap());
    assert_eq!(certs.ca_base64(), ca);

    std::fs::write(file("a.key"), first_key).unwrap();
    let error = certs.refresh(now()).unwrap_err().to_string();
    assert!(
        error.contains("a.pem: its first certificate does not go with the key in "),
        "{error}"
    );
    assert_eq!(leaf(&certs), second, "the last good one stays");
    for (key, ca, told) in [
        ("none", None, "none: No such file"),
        ("a.pem", None, "a.pem: there is no private key in PEM"),
        ("a.key", Some("a.key"), "does not go with"),
    ] {
        let error = Certs::open(given(key, ca), now()).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    write("b");
    std::fs::copy(file("b.key"), file("a.key")).unwrap();
    std::fs::copy(file("b.pem"), file("a.pem")).unwrap();
    let error = Certs::open(given("a.key", Some("b.key")), now())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("b.key: there is no certificate in PEM"),
        "{error}"
    );
}

/// What both sides agree on when the client offers `alpn`.
fn handshake(
    server: &Arc<ServerConfig>,
    ca: &str,
    alpn: &[&str],
) -> io::Result<(Option<Vec<u8>>, Vec<u8>)> {
    let provider = Arc::new(ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(ca))
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = vec![];
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        server.read_tls(&mut wire.as_slice())?;
        server.process_new_packets().map_err(io::Error::other)?;
        let mut wire = vec![];
        while server.wants_write() {
            server.write_tls(&mut wire)?;
        }
        client.read_tls(&mut wire.as_slice())?;
        client.process_new_packets().map_err(io::Error::other)?;
    }
    let seen = client.peer_certificates().unwrap()[0].to_vec();
    Ok((client.alpn_protocol().map(<[u8]>::to_vec), seen))
}

#[test]
fn the_port_speaks_http2_only_and_takes_a_renewal_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    // Handshakes look at the real clock.
    let now = SystemTime::now();
    let certs = open(dir.path(), &[], now - 250 * DAY);
    let config = certs.server_config().unwrap();
    let (alpn, seen) = handshake(&config, &certs.ca_pem(), &["http/1.1", "h2"]).unwrap();
    assert_eq!((alpn.as_deref(), seen), (Some(&b"h2"[..]), leaf(&certs)));
    handshake(&config, &certs.ca_pem(), &["http/1.1"]).unwrap_err();
    assert_eq!(certs.refresh(now).unwrap(), Refreshed::Renewed);
    let (_, seen) = handshake(&config, &certs.ca_pem(), &["h2"]).unwrap();
    assert_eq!(seen, leaf(&certs));
}
