//! The PDU over SNMP: against an agent of the test's own, and against Debian's `snmpd`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{fs, path::Path, process::Command, time::Duration};

use rig::{
    Open, SOON, config,
    process::{Server, program},
};
use rigd_driver::{Driver, DriverError, Health, contract};
use rigd_drivers_power::SnmpPower;
use serde_json::{Value, json};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{sleep, timeout},
};

const OID: &str = "1.3.6.1.4.1.99999.1";

/// What the agent does with each datagram.
#[derive(Debug, Clone, Copy)]
enum Agent {
    /// Answers it.
    Right,
    /// Says nothing to the first one.
    Late,
    /// Sends garbage and another's answer first.
    Noisy,
    /// Reports an error with this status.
    Error(u8),
}

/// An agent for v2c; gives its port, and what it is sent.
async fn agent(kind: Agent) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        let mut seen = 0;
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            let request = bytes[..length].to_vec();
            sender.send(request.clone()).ok();
            seen += 1;
            if matches!(kind, Agent::Late) && seen == 1 {
                continue;
            }
            let mut answer = request;
            // `30 len 02 01 01 04 07 private` is before the PDU: 14 bytes; its tag makes a response.
            answer[14] = 0xa2;
            let id = usize::from(answer[17]);
            if let Agent::Error(status) = kind {
                answer[18 + id + 2] = status;
            }
            if matches!(kind, Agent::Noisy) {
                let mut other = answer.clone();
                other[18] ^= 1;
                for wrong in [&b"\x30\x80"[..], b"garbage", &answer[..20], &other] {
                    socket.send_to(wrong, peer).await.unwrap();
                }
            }
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    (port, receiver)
}

fn v2c(port: u16) -> Value {
    json!({
        "host": "127.0.0.1", "port": port, "plug": 5, "version": "v2c", "community": "private",
        "oid": OID, "offValue": 2, "timeout": 2.5, "switching": {"minOffTime": 0},
    })
}

#[tokio::test]
async fn a_switch_is_one_set() {
    let (port, mut sent) = agent(Agent::Right).await;
    let open = Open::new::<SnmpPower>(v2c(port)).await;
    assert_eq!(
        open.call("on").await.unwrap(),
        "Power ON command sent successfully"
    );
    assert_eq!(
        open.call("off").await.unwrap(),
        "Power OFF command sent successfully"
    );
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": false, "source": "commanded"})
    );
    for (tag, value) in [(0xa3, [2, 1, 1]), (0xa3, [2, 1, 2])] {
        let sent = sent.recv().await.unwrap();
        assert_eq!(sent[14], tag);
        let object = b"\x06\x0a\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01\x05";
        assert!(
            sent.windows(object.len()).any(|part| part == object),
            "{sent:02x?}"
        );
        assert_eq!(sent[sent.len() - 3..], value);
    }
    // The question for the state has no value.
    let asked = sent.recv().await.unwrap();
    assert_eq!((asked[14], &asked[asked.len() - 2..]), (0xa0, &[5, 0][..]));
    assert!(sent.try_recv().is_err());
    let error = open.read().await.unwrap_err();
    assert!(matches!(error, DriverError::NoSuchMethod(_)), "{error:?}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_id() {
    let (port, mut sent) = agent(Agent::Late).await;
    let open = Open::new::<SnmpPower>(v2c(port)).await;
    open.call("on").await.unwrap();
    assert_eq!(sent.recv().await.unwrap(), sent.recv().await.unwrap());
}

#[tokio::test]
async fn what_is_no_answer_is_passed_over() {
    let (port, mut sent) = agent(Agent::Noisy).await;
    let open = Open::new::<SnmpPower>(v2c(port)).await;
    open.call("on").await.unwrap();
    sent.recv().await.unwrap();
    assert!(sent.try_recv().is_err());
}

#[tokio::test]
async fn an_error_of_the_device_is_told_with_what_helps() {
    let (port, _sent) = agent(Agent::Error(17)).await;
    let error = Open::new::<SnmpPower>(v2c(port)).await.error("on").await;
    assert!(matches!(error, DriverError::Unknown(_)), "{error:?}");
    let wanted = "SNMP set failed: notWritable (17): the object, or the access of these credentials, is read-only";
    assert!(error.to_string().starts_with(wanted), "{error}");
}

#[tokio::test]
async fn a_device_that_is_gone_or_silent_is_told_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut given = v2c(port);
    given["timeout"] = json!(0.3);
    let open = Open::new::<SnmpPower>(given).await;
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    let text = format!(
        "SNMP set failed: SNMP operation timed out: no answer from 127.0.0.1:{port} within 0.3 s; "
    );
    assert!(error.to_string().starts_with(&text), "{error}");
    drop(silent);
    let error = open.error("on").await.to_string();
    assert!(error.ends_with("is SNMP turned on there?"), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_absent() {
    let mut given = v2c(161);
    // RFC 6761: never resolves.
    given["host"] = json!("pdu.invalid");
    let open = Open::new::<SnmpPower>(given).await;
    let Health::Absent(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(why.starts_with("pdu.invalid cannot be resolved: "), "{why}");
}

#[test]
fn mistakes_in_a_config_are_told_by_their_key() {
    let key = |given: Value| SnmpPower::check(&config(given)).unwrap_err().key;
    let v3 = |more: Value| {
        let mut given = json!({"host": "pdu", "plug": 1, "user": "lab"});
        given
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        given
    };
    assert_eq!(key(json!({"host": "pdu", "plug": 1})), "user");
    assert_eq!(
        key(json!({"host": "pdu", "plug": 1, "version": "v1"})),
        "version"
    );
    assert_eq!(key(v3(json!({"auth_protocol": "MD5"}))), "auth_protocol");
    assert_eq!(
        key(v3(
            json!({"auth_protocol": "MD5", "auth_key": "12345678", "priv_protocol": "AES"})
        )),
        "priv_protocol"
    );
    assert_eq!(key(v3(json!({"oid": "sysName"}))), "oid");
    assert_eq!(key(v3(json!({"offValue": 1}))), "offValue");
    assert_eq!(
        key(v3(json!({"auth_key": "x", "authKeyFile": "/y"}))),
        "authKeyFile"
    );
    // Upstream's default: no authentication, and then no privacy whatever is asked for.
    SnmpPower::check(&config(v3(json!({"priv_protocol": "AES"})))).unwrap();
}

/// An agent with one outlet, 7, that is off.
async fn snmpd(dir: &Path) -> Option<(Server, u16)> {
    let program = program("snmpd", "snmpd")?;
    let port = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let conf = dir.join("snmpd.conf");
    let mut text = format!(
        "rwcommunity private 127.0.0.1\nrocommunity public 127.0.0.1\noverride -rw .{OID}.7 integer 0\n"
    );
    for (user, protocols, level) in USERS {
        text += &format!("createUser {user} {protocols}\nrwuser {user} {level}\n");
    }
    fs::write(&conf, text).unwrap();
    let mut command = Command::new(program);
    command
        .args(["-f", "-C", "-Ln", "-I", "-smux", "-c"])
        .arg(conf);
    command
        .arg(format!("udp:127.0.0.1:{port}"))
        .env("SNMP_PERSISTENT_DIR", dir);
    let server = Server::start(&mut command);
    Some((server, port))
}

const USERS: [(&str, &str, &str); 5] = [
    ("plain", "", "noauth"),
    ("md5", "MD5 authpassword", "auth"),
    ("sha", "SHA authpassword", "auth"),
    ("md5des", "MD5 authpassword DES privpassword", "priv"),
    ("shaaes", "SHA authpassword AES privpassword", "priv"),
];

fn user(port: u16, name: &str) -> Value {
    let protocols = USERS.iter().find(|user| user.0 == name).unwrap().1;
    let protocol = |known: [&'static str; 2]| {
        known
            .into_iter()
            .find(|p| protocols.contains(p))
            .unwrap_or("NONE")
    };
    json!({
        "host": "127.0.0.1", "port": port, "plug": 7, "oid": OID, "user": name,
        "auth_protocol": protocol(["MD5", "SHA"]), "auth_key": "authpassword",
        "priv_protocol": protocol(["DES", "AES"]), "priv_key": "privpassword",
        "switching": {"minOffTime": 0},
    })
}

/// Until the agent answers.
async fn up(open: &Open, server: &mut Server) {
    let up = async {
        while let Err(error) = open.call("state").await {
            assert!(server.runs(), "snmpd ended: {error}");
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, up).await.expect("snmpd answers");
}

#[tokio::test]
async fn a_real_agent_in_all_versions() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut server, port)) = snmpd(dir.path()).await else {
        return;
    };
    let community = |version: &str, name: &str| {
        json!({"host": "127.0.0.1", "port": port, "plug": 7, "oid": OID, "version": version,
            "community": name, "timeout": 3, "switching": {"minOffTime": 0}})
    };
    let mut all = vec![community("v1", "private"), community("v2c", "private")];
    all.extend(USERS.iter().map(|name| user(port, name.0)));
    up(&Open::new::<SnmpPower>(all[0].clone()).await, &mut server).await;
    for given in all {
        let open = Open::new::<SnmpPower>(given.clone()).await;
        for on in [true, false, true, false] {
            let word = if on { "on" } else { "off" };
            open.call(word)
                .await
                .unwrap_or_else(|error| panic!("{given}: {error}"));
            let state = open
                .call("state")
                .await
                .unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(state, json!({"on": on, "source": "device"}), "{given}");
        }
    }

    let told = async |given: Value| {
        Open::new::<SnmpPower>(given)
            .await
            .error("on")
            .await
            .to_string()
    };
    for (version, wanted) in [("v1", "noSuchName (2)"), ("v2c", "noAccess (6)")] {
        let error = told(community(version, "public")).await;
        assert!(error.contains(wanted), "{error}");
    }
    let mut given = user(port, "shaaes");
    given["user"] = json!("stranger");
    assert!(told(given.clone()).await.contains("unknownUserName"));
    given = user(port, "shaaes");
    given["auth_key"] = json!("another password");
    assert!(told(given.clone()).await.contains("wrongDigest"));
    given = user(port, "shaaes");
    given["priv_protocol"] = json!("NONE");
    assert!(
        told(given.clone()).await.contains("authorizationError"),
        "{}",
        told(given).await
    );
    given = user(port, "md5");
    given["priv_protocol"] = json!("DES");
    assert!(
        told(given.clone()).await.contains("unsupportedSecLevel"),
        "{}",
        told(given).await
    );
    given = user(port, "sha");
    given["plug"] = json!(8);
    let error = told(given).await;
    assert!(error.starts_with("SNMP set failed: n"), "{error}");
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let (port, mut sent) = agent(Agent::Right).await;
    contract::check::<SnmpPower>(config(v2c(port))).await;
    assert!(sent.try_recv().is_err());
}
