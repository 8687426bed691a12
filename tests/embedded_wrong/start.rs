//! Settings, files, certificates and ports that are no good.

use std::{fs, net::TcpListener, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use super::Lab;
use crate::embedded::{
    Site,
    caller::{Caller, Credentials},
    commands::said,
};

#[test]
fn a_port_that_cannot_be_had() {
    let lab = Lab::new();
    let other = TcpListener::bind(lab.site.address()).unwrap();
    let address = lab.site.address();
    let words = format!(
        "error: cannot listen on {address}: the port is in use; end the program that has it (`ss \
         -ltnp` names it), or choose another one with --controller-listen HOST:PORT"
    );
    lab.does_not_start(1, &[], &[&words]);
    // A test network's address (RFC 5737), which no host has.
    let run = lab
        .site
        .command(&["controller", "run", "--controller-listen", "192.0.2.1:8082"]);
    said(run, "").refused(
        1,
        &["cannot listen on 192.0.2.1:8082: Cannot assign requested address"],
    );
    let run = lab.site.command(&[
        "controller",
        "run",
        "--controller-listen",
        "no.invalid:8082",
    ]);
    said(run, "").refused(1, &["cannot listen on no.invalid:8082: "]);
    drop(other);
    lab.is_intact();
}

#[test]
fn settings_that_are_none() {
    let lab = Lab::new();
    let file = lab.site.settings.path("rigd.toml");
    let with = |text: &str, words: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut run = lab.site.command(&["controller", "run"]);
        run.env("RIGD_CONFIG", &file);
        said(run, "").refused(2, &[&["error: "], words].concat());
    };
    with(
        "controller.idle_limit = \"5\"\n",
        &["idle_limit: `5`", "30m or 1h30m"],
    );
    with(
        "controller.idle_limit = \"59s\"\n",
        &["idle_limit: 59s is too short, the shortest is 1m0s"],
    );
    with(
        "controller.cert = \"/c.pem\"\n",
        &["embedded controller: cert needs key"],
    );
    with(
        "controller.key = \"/k.pem\"\n",
        &["embedded controller: key needs cert"],
    );
    with(
        "controller.ca = \"/a.pem\"\n",
        &["embedded controller: ca needs cert and key"],
    );
    with(
        "controller.namespace = \"Lab\"\n",
        &["namespace: invalid name \"Lab\": a lowercase RFC 1123"],
    );
    with(
        "controller.advertise = [\"https://lab\"]\n",
        &["advertise: `https://lab` is no NAME"],
    );
    with(
        "controller.listen = \"8082\"\n",
        &["settings are not valid", "controller.listen", "HOST:PORT"],
    );
    with("controller.idel_limit = \"5m\"\n", &["idel_limit"]);
    let run = lab
        .site
        .command(&["controller", "run", "--controller-cert", "/c.pem"]);
    said(run, "").refused(2, &["--controller-key"]);
    // Commands that would use them say so too.
    fs::write(&file, "controller.namespace = \"Lab\"\n").unwrap();
    let mut get = lab.site.command(&["get", "exporters"]);
    get.env("RIGD_CONFIG", &file);
    said(get, "").refused(2, &["namespace: invalid name \"Lab\""]);
    lab.is_intact();
}

#[test]
fn a_file_that_does_not_go_with_the_lab() {
    let lab = Lab::new();
    let site = &lab.site;
    let run = |text: &str, flags: &[&str]| {
        fs::write(site.file("board"), text).unwrap();
        said(site.run_command(flags), "")
    };
    let power = "export:\n  power: {type: power.mock}\n";
    for (head, place, words) in [
        (
            "metadata: {name: board, namespace: elsewhere}\n",
            "board.yaml:1",
            "the embedded controller, with which an exporter without `endpoint` registers, has the \
             namespace `default`",
        ),
        (
            "metadata: {name: Board_1}\n",
            "board.yaml:1",
            "invalid name \"Board_1\"",
        ),
        (
            "metadata: {name: board}\nlabels: {'a b': c}\n",
            "board.yaml",
            "labels: `a b: c`",
        ),
        (
            "metadata: {name: board}\nlabels: {a: 'b c'}\n",
            "board.yaml",
            "labels: `a: b c`",
        ),
    ] {
        let said = run(&format!("{head}{power}"), &[]);
        said.refused(2, &[place, words]);
    }
    let elsewhere = format!("metadata: {{name: board, namespace: elsewhere}}\n{power}");
    run(&elsewhere, &[]).refused(2, &["--namespace elsewhere"]);
    assert_eq!(site.inventory(), lab.inventory, "a board was made known");
    // A second file of the same name.
    run(
        &format!("metadata: {{name: board}}\n{power}"),
        &["--namespace", "Not-A-Name"],
    )
    .refused(2, &["namespace: invalid name"]);
    fs::write(
        site.file("twin"),
        format!("metadata: {{name: board}}\n{power}"),
    )
    .unwrap();
    said(site.run_command(&[]), "").refused(2, &["board"]);
    lab.is_intact();
}

/// An authority, and a certificate for this host that it signed.
struct Pki {
    ca: String,
    certificate: String,
    key: String,
}

impl Pki {
    fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "a site");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        Self {
            ca: ca.pem(),
            certificate: leaf.signed_by(&key, &ca).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn write(&self, site: &Site, name: &str) -> [String; 3] {
        let write = |part: &str, text: &str| {
            let path: PathBuf = site.settings.path(&format!("{name}-{part}.pem"));
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        [
            write("cert", &self.certificate),
            write("key", &self.key),
            write("ca", &self.ca),
        ]
    }
}

#[test]
fn certificates_that_are_none() {
    let lab = Lab::new();
    let [cert, key, ca] = Pki::new().write(&lab.site, "a");
    let [_, other_key, _] = Pki::new().write(&lab.site, "b");
    let none = lab
        .site
        .settings
        .path("none.pem")
        .to_str()
        .unwrap()
        .to_owned();
    let given = |cert: &str, key: &str, ca: &str, words: &[&str]| {
        let flags = [
            ["--controller-cert", cert],
            ["--controller-key", key],
            ["--controller-ca", ca],
        ];
        let words = [
            &["error: the certificate of the embedded controller: "],
            words,
        ]
        .concat();
        lab.does_not_start(2, flags.as_flattened(), &words);
    };
    given(
        &cert,
        &other_key,
        &ca,
        &[&format!(
            "{cert}: its first certificate does not go with the key in {other_key}"
        )],
    );
    given(
        &key,
        &cert,
        &ca,
        &[&format!("{key}: there is no certificate in PEM")],
    );
    given(
        &cert,
        &ca,
        &ca,
        &[&format!("{ca}: there is no private key in PEM")],
    );
    given(
        &cert,
        &key,
        &key,
        &[&format!("{key}: there is no certificate in PEM")],
    );
    given(
        &none,
        &key,
        &ca,
        &[&format!("{none}: No such file or directory (os error 2)\n")],
    );
    // It is one, but for another name than the one that is handed out.
    let flags = [
        ["--controller-cert", &cert],
        ["--controller-key", &key],
        ["--controller-ca", &ca],
        ["--advertise", "other.example"],
    ];
    let words = [
        "does not hold the name other.example",
        "127.0.0.1",
        "--advertise",
    ];
    lab.does_not_start(2, flags.as_flattened(), &words);
    lab.is_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_the_site_are_served_and_handed_out() {
    let site = Site::with_board();
    let pki = Pki::new();
    let [cert, key, ca] = pki.write(&site, "site");
    let flags = [
        "--controller-cert",
        &cert,
        "--controller-key",
        &key,
        "--controller-ca",
        &ca,
    ];
    let mut daemon = site.run_with(&flags);
    // Its own exporter trusts it as everybody does.
    let ci = site.client("ci").await;
    assert_eq!(ci.who.ca_pem, pki.ca);
    ci.sees("", &["rpi4"]).await;
    let lease = ci.lease("board=rpi4").await;
    ci.uses(&lease).await;
    let stranger = Credentials {
        ca_pem: Pki::new().ca,
        ..ci.who.clone()
    };
    assert!(Caller::connect(stranger).await.is_err());
    assert!(
        !site.state().join("certificates").exists(),
        "one was made for nobody"
    );
    // Without the authority, what is handed out is the certificate itself.
    daemon.stop_cleanly();
    let mut daemon = site.run_with(&flags[..4]);
    let later = Credentials::read(&site.create_client("later"));
    assert_eq!(later.ca_pem, pki.certificate);
    let ci = site.known("ci").await;
    ci.sees("", &["rpi4"]).await;
    daemon.stop_cleanly();
}
