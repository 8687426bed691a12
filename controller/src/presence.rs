//! Whether an exporter is there, and what it does.
//!
//! ```text
//!   registered ──status stream open──> there ──Available or not told──> assignable
//!                                        │ last stream closed
//!                                        v
//!              seen a moment ago (shown online, given to nobody) ──60 s──> Offline
//! ```
//!
//! An open Status stream is presence: only through it an exporter learns of a lease. Whether an
//! exporter registered outlives the controller with its devices, because an exporter whose streams
//! were only cut does not register anew.

use std::time::{Duration, SystemTime};

use crate::model::{Device, Exporter, ExporterState, Labels, Presence};

/// For how long an exporter without an open stream is shown as online, as Jumpstarter's controller
/// has it.
pub const SEEN: Duration = Duration::from_secs(60);
/// Keys that exporters may label themselves with begin so; all others are the administrator's.
pub const OWN_LABELS: &str = "jumpstarter.dev/";
const LOST: &str = "Connection lost - last seen more than 1 minute ago";
const NEVER: &str = "Never seen";

/// What is told of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Its `Online` condition.
    pub online: bool,
    /// Its `Registered` condition.
    pub registered: bool,
    /// `None` is "unspecified".
    pub status: Option<ExporterState>,
    /// For people; may be empty.
    pub message: &'a str,
}

/// What is told of an exporter at a time.
pub fn shown(exporter: &Exporter, now: SystemTime) -> Shown<'_> {
    let presence = &exporter.presence;
    let (offline, registered) = (Some(ExporterState::Offline), is_registered(exporter));
    let (online, status, message) = if presence.streams > 0 || seen_lately(presence, now) {
        let online = presence.status != offline;
        (online, presence.status, presence.message.as_str())
    } else if presence.status == offline {
        // It signed off itself, and its own words say more than that nothing was heard since.
        (false, offline, presence.message.as_str())
    } else if presence.last_seen.is_some() {
        (false, offline, LOST)
    } else {
        (false, offline, NEVER)
    };
    Shown {
        online,
        registered,
        status,
        message,
    }
}

/// A clock that was set back by an hour makes nobody present for an hour.
fn seen_lately(presence: &Presence, now: SystemTime) -> bool {
    presence.last_seen.is_some_and(|seen| {
        let distance = now
            .duration_since(seen)
            .unwrap_or_else(|later| later.duration());
        distance <= SEEN
    })
}

/// It has told its devices, and has not signed off since.
pub fn is_registered(exporter: &Exporter) -> bool {
    exporter.presence.registered || !exporter.devices.is_empty()
}

/// It can hear of a lease now, unless it is busy or disabled.
pub fn is_there(exporter: &Exporter) -> bool {
    let presence = &exporter.presence;
    is_registered(exporter)
        && presence.streams > 0
        && presence.status != Some(ExporterState::Offline)
}

/// It is done with its last lease.
pub fn is_ready(exporter: &Exporter) -> bool {
    matches!(
        exporter.presence.status,
        None | Some(ExporterState::Available)
    )
}

/// Whether an exporter can be given out, as far as it alone can tell: whether it is leased is up to
/// the leases.
pub fn assignable(exporter: &Exporter) -> bool {
    is_there(exporter) && is_ready(exporter) && exporter.enabled && exporter.held.is_none()
}

/// The labels that an administrator gives, beside those of before that the exporter gave itself.
pub(crate) fn labelled(before: &Labels, given: &Labels) -> Labels {
    let own = before.iter().filter(|(key, _)| key.starts_with(OWN_LABELS));
    own.chain(given)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl Exporter {
    /// It registered: its own labels and its devices are those from now on.
    pub fn register(&mut self, labels: Labels, devices: Vec<Device>, now: SystemTime) {
        self.labels.retain(|key, _| !key.starts_with(OWN_LABELS));
        let own = labels
            .into_iter()
            .filter(|(key, _)| key.starts_with(OWN_LABELS));
        self.labels.extend(own);
        self.devices = devices;
        self.presence.registered = true;
        self.presence.last_seen = Some(now);
    }

    /// It signed off. What it leased stays leased. An empty reason gets a text.
    pub fn unregister(&mut self, reason: &str, now: SystemTime) {
        self.devices.clear();
        let reason = if reason.is_empty() {
            "Exporter unregistered"
        } else {
            reason
        };
        let presence = &mut self.presence;
        presence.prepared(now);
        presence.registered = false;
        presence.status = Some(ExporterState::Offline);
        reason.clone_into(&mut presence.message);
        presence.last_seen = Some(now);
    }
}

impl Presence {
    /// It opened a Status stream: what it said when it left is no longer so.
    pub fn opened(&mut self, now: SystemTime) {
        self.streams = self.streams.saturating_add(1);
        self.last_seen = Some(now);
        if self.status == Some(ExporterState::Offline) {
            self.status = None;
            self.message.clear();
        }
    }

    /// One of its Status streams is closed.
    pub fn closed(&mut self, now: SystemTime) {
        self.prepared(now);
        self.streams = self.streams.saturating_sub(1);
        self.last_seen = Some(now);
    }

    /// It told its status; `None` is "unspecified".
    pub fn reported(&mut self, status: Option<ExporterState>, message: String, now: SystemTime) {
        self.prepared(now);
        self.status = status;
        self.message = message;
        self.last_seen = Some(now);
    }

    /// An end of a tunnel to it came.
    pub fn tunnel_opened(&mut self, now: SystemTime) {
        self.tunnels = self.tunnels.saturating_add(1);
        self.used(now);
    }

    /// A tunnel to it was closed, or waited in vain for its other end.
    pub fn tunnel_closed(&mut self, now: SystemTime) {
        self.tunnels = self.tunnels.saturating_sub(1);
        self.used(now);
    }

    /// Its lease is in use.
    pub fn used(&mut self, now: SystemTime) {
        self.last_used = Some(now);
    }

    /// It prepares its lease: no client can use that, however long it takes.
    pub fn prepares(&self) -> bool {
        self.streams > 0 && self.status == Some(ExporterState::BeforeLeaseHook)
    }

    /// Something else begins now; what it prepared until now was no time without use.
    fn prepared(&mut self, now: SystemTime) {
        if self.prepares() {
            self.used(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use uuid::Uuid;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn exporter() -> Exporter {
        Exporter {
            uid: Uuid::nil(),
            labels: Labels::from([("board".into(), "rpi4".into())]),
            created: at(0),
            tokens_from: at(0),
            enabled: true,
            held: None,
            hosted: false,
            devices: vec![],
            presence: Presence::default(),
        }
    }

    fn device() -> Device {
        Device {
            uuid: "d".into(),
            parent_uuid: None,
            labels: Labels::new(),
        }
    }

    #[test]
    fn it_is_given_out_from_its_first_stream_to_its_sign_off() {
        let mut rig = exporter();
        assert_eq!(shown(&rig, at(0)).message, NEVER);
        rig.register(Labels::new(), vec![device()], at(0));
        assert!(shown(&rig, at(0)).online && !assignable(&rig));
        rig.presence.opened(at(1));
        assert!(assignable(&rig));
        for (status, yes) in [
            (Some(ExporterState::LeaseReady), false),
            (Some(ExporterState::AfterLeaseHook), false),
            (Some(ExporterState::AfterLeaseHookFailed), false),
            (None, true),
            (Some(ExporterState::Offline), false),
            (Some(ExporterState::Available), true),
        ] {
            rig.presence.reported(status, String::new(), at(2));
            assert_eq!(assignable(&rig), yes, "{status:?}");
        }
        rig.held = Some("the relay is broken".into());
        assert!(!assignable(&rig));
        rig.held = None;
        rig.unregister("Exporter shutdown", at(3));
        assert!(!assignable(&rig) && !shown(&rig, at(3)).online);
        rig.presence.closed(at(3));
        assert_eq!(shown(&rig, at(500)).message, "Exporter shutdown");
    }

    #[test]
    fn who_is_silent_for_a_minute_is_lost_and_who_streams_is_not() {
        let mut rig = exporter();
        rig.register(Labels::new(), vec![device()], at(0));
        rig.presence.opened(at(0));
        rig.presence
            .reported(Some(ExporterState::LeaseReady), "Ready".into(), at(0));
        assert!(shown(&rig, at(5000)).online);
        rig.presence.closed(at(5000));
        assert!(shown(&rig, at(5060)).online && !assignable(&rig));
        let lost = shown(&rig, at(5061));
        assert_eq!((lost.online, lost.message), (false, LOST));
        assert_eq!(lost.status, Some(ExporterState::Offline));
        // The clock was set back.
        assert!(!shown(&rig, at(0)).online);
        assert!(shown(&rig, at(4990)).online);
    }

    #[test]
    fn a_new_controller_knows_who_had_registered() {
        let mut rig = exporter();
        rig.register(Labels::new(), vec![device()], at(0));
        rig.presence = Presence::default();
        rig.presence.opened(at(9));
        assert!(assignable(&rig));
    }

    #[test]
    fn a_stream_takes_back_what_was_said_in_parting() {
        let mut rig = exporter();
        rig.register(Labels::new(), vec![device()], at(0));
        rig.presence.reported(
            Some(ExporterState::Offline),
            "Exporter shutting down".into(),
            at(0),
        );
        rig.presence.opened(at(1));
        assert_eq!(
            (rig.presence.status, rig.presence.message.as_str()),
            (None, "")
        );
        rig.presence.closed(at(2));
        rig.presence.closed(at(2));
        assert_eq!(rig.presence.streams, 0);
    }

    #[test]
    fn it_labels_itself_only_under_the_prefix() {
        let mut rig = exporter();
        let own = |value: &str| Labels::from([("jumpstarter.dev/driver".into(), value.into())]);
        rig.register(own("a"), vec![], at(0));
        let mut more = own("b");
        more.insert("board".into(), "rpi5".into());
        more.insert("admin".into(), "yes".into());
        rig.register(more, vec![], at(0));
        let expected = [("board", "rpi4"), ("jumpstarter.dev/driver", "b")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(rig.labels, Labels::from(expected));
        rig.register(Labels::new(), vec![], at(0));
        assert_eq!(rig.labels.len(), 1);
    }
}
