//! The vectors of the RFCs, and messages that are tampered with.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_are_those_of_the_rfc() {
    // RFC 3414, sections A.3.1 and A.3.2.
    let engine = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let key = |auth: Auth| hex(&auth.key("maplesyrup", &engine));
    assert_eq!(key(Auth::Md5), "526f5eed9fcce26f8964c2930787d82b");
    assert_eq!(key(Auth::Sha), "6695febc9288e36282235fc7151f128497b38f3f");
}

#[test]
fn macs_are_those_of_the_rfc() {
    // RFC 2202, test case 1 and 2 of both hashes.
    assert_eq!(
        hex(&Auth::Md5.mac(&[0x0b; 16], b"Hi There")),
        "9294727a3638bb1c13f48ef8158bfc9d"
    );
    let jefe = |auth: Auth| hex(&auth.mac(b"Jefe", b"what do ya want for nothing?"));
    assert_eq!(jefe(Auth::Md5), "750c783e6ab0b503eaa86e310a5db738");
    assert_eq!(jefe(Auth::Sha), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
}

#[test]
fn aes_is_that_of_the_standard() {
    // NIST SP 800-38A, section F.3.13, the first two blocks.
    let key = [
        0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f,
        0x3c,
    ];
    let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let plain = [
        0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17,
        0x2a, 0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c, 0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf,
        0x8e, 0x51,
    ];
    let hidden = cfb(&key, &iv, &plain, true);
    assert_eq!(
        hex(&hidden),
        "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"
    );
    assert_eq!(cfb(&key, &iv, &hidden, false), plain);
}

#[test]
fn what_is_hidden_comes_back_and_what_is_changed_does_not() {
    let engine = Engine {
        id: vec![1, 2, 3],
        boots: 4,
        time: 5,
    };
    // A response stands in for a request: only its tag is another one.
    let pdu = [0xa2, 0x0b, 2, 1, 9, 2, 1, 0, 2, 1, 0, 0x30, 0];
    for privacy in [Priv::Des, Priv::Aes] {
        for auth in [Auth::Md5, Auth::Sha] {
            let user = User {
                name: "lab".into(),
                auth: Some((auth, "authpassword".into())),
                privacy: Some((privacy, "privpassword".into())),
            };
            let keys = user.keys(&engine.id);
            let sent = message(7, &engine, &user.name, Some(&keys), &pdu);
            let found = receive(&sent, Some(&keys)).unwrap();
            assert!(found.authenticated);
            assert_eq!((found.id, found.answer.id), (7, 9));
            assert_eq!(found.engine, engine);
            assert!(receive(&sent, None).is_none());
            for at in 0..sent.len() {
                let mut changed = sent.clone();
                changed[at] ^= 4;
                // The flags alone may say that nothing is protected; the data is then garbage.
                assert!(
                    receive(&changed, Some(&keys)).is_none_or(|found| !found.authenticated),
                    "byte {at}"
                );
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_makes_it_panic(bytes: Vec<u8>, at: usize, flip: u8) {
        let engine = Engine { id: vec![1, 2, 3], boots: 4, time: 5 };
        let user = User {
            name: "lab".into(),
            auth: None,
            privacy: None,
        };
        let keys = user.keys(&engine.id);
        receive(&bytes, Some(&keys));
        // What is nearly right goes deeper.
        let mut near = message(7, &engine, "lab", None, &[0xa8, 0x0b, 2, 1, 9, 2, 1, 0, 2, 1, 0, 0x30, 0]);
        let at = at % near.len();
        near[at] ^= flip;
        near.truncate(near.len() - bytes.len().min(near.len()) / 8);
        receive(&near, Some(&keys));
        super::super::pdu::community_answer(1, &near);
    }
}
