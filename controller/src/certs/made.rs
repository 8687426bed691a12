//! Certificates that are made here: an authority, and one certificate at a time that it signs.
//!
//! Each file says its own times in lines that PEM readers skip, so that nothing here has to read X.509.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::ServerName;

use super::{CertError, Material, pair, read, read_certificates};
use crate::private_file;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Of the authority: clients have it in their files.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// Of the certificate.
const LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// A certificate begins before it is made: clocks of a lab differ.
const EARLIER: Duration = DAY;
/// 2026-01-01. A host whose clock says less has not been told the time yet, and what it makes must
/// still be good when it has.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// Where a host says its name on Linux.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Names that every certificate holds.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where things are, and for which names.
pub(super) struct Made {
    directory: PathBuf,
    names: BTreeSet<String>,
}

/// What the lines at the head of a file say, in seconds since 1970.
struct Head {
    names: String,
    from: u64,
    until: u64,
}

impl Made {
    pub(super) fn new(directory: &Path, names: &[String]) -> Result<Self, CertError> {
        let mut all: BTreeSet<_> = LOCAL.map(str::to_owned).into();
        let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
        // A host may have a name that is none for certificates; it is then reached by another one.
        all.extend(normal(host.trim()).ok());
        for name in names {
            all.insert(normal(name)?);
        }
        Ok(Self {
            directory: directory.to_owned(),
            names: all,
        })
    }

    /// That of the authority, which is made when it is not there.
    pub(super) fn ca_pem(&self, now: SystemTime) -> Result<String, CertError> {
        Ok(self.authority(now)?.0)
    }

    pub(super) fn material(&self, now: SystemTime) -> Result<Material, CertError> {
        let (ca, signer, ends) = self.authority(now)?;
        let path = self.directory.join("server.pem");
        if let Ok(text) = std::fs::read_to_string(&path)
            && !self.is_due(&text, ends, now)
            && let Ok(key) = pair((&path, &text), (&path, &text))
            && super::certificates(&ca).is_ok_and(|ca| key.cert.last() == ca.first())
        {
            return Ok(Material::new(key, ca));
        }
        let text = self.leaf(&ca, &signer, ends, now)?;
        write(&path, &text)?;
        Ok(Material::new(pair((&path, &text), (&path, &text))?, ca))
    }

    /// The authority in PEM, what signs for it, and when it ends.
    fn authority(
        &self,
        now: SystemTime,
    ) -> Result<(String, Issuer<'static, KeyPair>, u64), CertError> {
        private_file::make_directory(&self.directory).map_err(|source| CertError::File {
            path: self.directory.clone(),
            source,
        })?;
        let (path, key_path) = (
            self.directory.join("ca.pem"),
            self.directory.join("ca-key.pem"),
        );
        if !exists(&key_path)? {
            if exists(&path)? {
                let what = "the certificate is there, and its key ca-key.pem is not: restore the key, \
                            or remove the certificate and hand out new configuration files";
                return Err(CertError::Content {
                    path,
                    what: what.to_owned(),
                });
            }
            // The key first: without its certificate nobody has been told of it.
            let key = KeyPair::generate().map_err(made)?;
            write(&key_path, &key.serialize_pem())?;
        }
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|_| CertError::Content {
            path: key_path.clone(),
            what: "there is no P-256 key in PEM".to_owned(),
        })?;
        let point = key.public_key_raw().to_vec();
        let mut params = CertificateParams::default();
        let id = params.key_identifier(&key);
        let short: String = id
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("rigd lab {short}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut until = sane(now) + AUTHORITY_LIFE.as_secs();
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + seconds(until);
        if !exists(&path)? {
            let pem = params.self_signed(&key).map_err(made)?.pem();
            write(&path, &format!("# until: {until}\n{pem}"))?;
        }
        let pem = read_certificates(&path)?;
        let ours = super::certificates(&pem).is_ok_and(|all| {
            all.first()
                .is_some_and(|one| one.windows(point.len()).any(|part| part == point))
        });
        if !ours {
            let what = "the certificate is not that of ca-key.pem".to_owned();
            return Err(CertError::Content { path, what });
        }
        until = field(&pem, "until")
            .and_then(|text| text.parse().ok())
            .unwrap_or(until);
        if sane(now) >= until {
            return Err(CertError::Over {
                directory: self.directory.clone(),
            });
        }
        Ok((pem, Issuer::new(params, key), until))
    }

    /// Key, certificate and authority in one file, so that they always fit each other.
    fn leaf(
        &self,
        ca: &str,
        signer: &Issuer<'static, KeyPair>,
        ends: u64,
        now: SystemTime,
    ) -> Result<String, CertError> {
        let names: Vec<_> = self.names.iter().cloned().collect();
        let mut params = CertificateParams::new(names).map_err(made)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "rigd controller");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let from = sane(now) - EARLIER.as_secs();
        let until = (sane(now) + LIFE.as_secs()).min(ends);
        params.not_before = date_time_ymd(1970, 1, 1) + seconds(from);
        params.not_after = date_time_ymd(1970, 1, 1) + seconds(until);
        let key = KeyPair::generate().map_err(made)?;
        let certificate = params.signed_by(&key, signer).map_err(made)?;
        let head = Head {
            names: self.names_line(),
            from,
            until,
        };
        Ok(format!(
            "{}{}{}{ca}",
            head.text(),
            key.serialize_pem(),
            certificate.pem()
        ))
    }

    fn names_line(&self) -> String {
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        names.join(" ")
    }

    /// A third of its life is left, it is for other names, or the clock was set back before it.
    fn is_due(&self, text: &str, ends: u64, now: SystemTime) -> bool {
        let Some(head) = Head::parse(text) else {
            return true;
        };
        let now = sane(now);
        let old = head.until.saturating_sub(now) < LIFE.as_secs() / 3;
        // The last one before the authority ends cannot be made to last longer.
        let can_last = head.until < ends || now >= head.until;
        head.names != self.names_line() || now < head.from || (old && can_last)
    }
}

impl Head {
    fn text(&self) -> String {
        format!(
            "# Written by rigd, which renews it by itself.\n# names: {}\n# from: {}\n# until: {}\n",
            self.names, self.from, self.until
        )
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            names: field(text, "names")?.to_owned(),
            from: field(text, "from")?.parse().ok()?,
            until: field(text, "until")?.parse().ok()?,
        })
    }
}

/// The first line of that name, before anything else.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .map_while(|line| line.strip_prefix("# "))
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A name as certificates hold it: addresses in their shortest form, names in lower case.
fn normal(name: &str) -> Result<String, CertError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) => Ok(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => Err(CertError::Name(name.to_owned())),
    }
}

fn sane(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .max(EPOCH)
        .as_secs()
}

/// Seconds since 1970 as far as certificates go: their years have four digits, and a clock beyond
/// them is nonsense.
fn seconds(number: u64) -> Duration {
    const LAST: u64 = 253_402_214_400;
    Duration::from_secs(number.min(LAST))
}

fn exists(path: &Path) -> Result<bool, CertError> {
    path.try_exists().map_err(|source| CertError::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), CertError> {
    private_file::write(path, text.as_bytes()).map_err(|source| CertError::File {
        path: path.to_owned(),
        source,
    })
}

fn made(error: rcgen::Error) -> CertError {
    CertError::Make(error.to_string())
}
