//! Registers the exporter and hears from the controller who holds it, for ever.
//!
//! ```text
//!   Register ── ok ──> Status ── first message ──> connected ── messages ──> lease machine
//!      ^                  │                            │
//!      └──── back-off ────┴──── failed, ended ─────────┘
//! ```
//!
//! The open Status stream is the exporter's heartbeat. Registering again after each loss heals a
//! controller that has forgotten us.

use std::{sync::Arc, time::Duration};

use rigd_proto::v1::{
    GetServiceEndpointsRequest, RegisterRequest, StatusRequest, StatusResponse, TelemetryEndpoint,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tonic::Status;

use super::{
    answer::Answer,
    backoff::Backoff,
    controller::{Controller, Failed, Health, within},
};
use crate::lease::machine::{Event, Lease};

/// Time for a unary call.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Time for the first word on a Status stream, which a controller says at once.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// Shortest wait: a controller that answers all but this is not to be asked in a loop.
const SHORTEST: Duration = Duration::from_millis(500);
/// How often an exporter registers again while all is well: another one of the same name may have
/// signed it off.
const AGAIN: Duration = Duration::from_secs(300);
/// Longest name of a lease or client that is believed.
const MAX_NAME: usize = 1024;

/// Runs for as long as the link.
pub(super) async fn run(controller: Arc<Controller>, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::default();
    let mut outage: Option<Instant> = None;
    loop {
        let mut connected = None;
        let used = controller.identity.token().ok();
        let failed = match attend(&controller, &events, &mut connected, &mut outage).await {
            Ok(()) => return,
            Err(failed) => failed,
        };
        if let Some(since) = connected {
            backoff.lasted(since.elapsed());
        }
        let is_refused = matches!(failed.answer, Answer::Refused(_));
        let delay = backoff.next(failed.answer.trouble());
        let endpoint = controller.endpoint.to_string();
        let again_in_s = tenths(delay);
        let error = failed.text.as_str();
        let known = gist(&controller.health.borrow().detail).eq(gist(error));
        if known {
            tracing::debug!(endpoint, error, again_in_s, "Still no connection.");
        } else if failed.local {
            tracing::error!(error, again_in_s, "This exporter cannot register.");
        } else if is_refused {
            tracing::error!(
                endpoint,
                error,
                again_in_s,
                "The controller refuses this exporter."
            );
        } else {
            tracing::warn!(
                endpoint,
                error,
                again_in_s,
                "No connection to the controller."
            );
        }
        outage.get_or_insert_with(Instant::now);
        controller.health.send_replace(Health {
            connected: false,
            detail: failed.text,
        });
        let answered = async {
            controller.reached.notified().await;
            sleep(SHORTEST).await;
        };
        // cancel-safe: all only wait. A new token is the cure of most refusals; and a controller that
        // has answered something else is back, sooner than the wait for it says.
        tokio::select! {
            () = sleep(delay) => {}
            () = controller.identity.renewed(used.as_ref()), if is_refused => {}
            () = answered, if !is_refused => {}
        }
    }
}

/// One connection, from Register to the end of its Status stream. Ends well only when nobody wants
/// to hear any more.
async fn attend(
    controller: &Controller,
    events: &mpsc::Sender<Event>,
    connected: &mut Option<Instant>,
    outage: &mut Option<Instant>,
) -> Result<(), Failed> {
    register(controller).await?;
    let request = controller.request(StatusRequest {})?;
    let mut service = controller.service();
    let first = async {
        let mut messages = service.status(request).await?.into_inner();
        let first = messages.message().await?;
        Ok::<_, Status>((messages, first))
    };
    let (mut messages, first) = timeout(FIRST_WORD, first).await.map_err(|_| {
        let text = format!("no status within {} s", FIRST_WORD.as_secs());
        Status::deadline_exceeded(text)
    })??;
    let Some(mut message) = first else {
        return Err(Status::unavailable("the status stream ended without a word").into());
    };
    *connected = Some(Instant::now());
    let endpoint = controller.endpoint.to_string();
    match outage.take() {
        Some(since) => {
            let after_s = tenths(since.elapsed());
            tracing::info!(endpoint, after_s, "Connected to the controller again.");
        }
        None => tracing::info!(endpoint, "Registered with the controller."),
    }
    controller.health.send_replace(Health {
        connected: true,
        detail: "connected".into(),
    });
    controller.outbox().again();
    controller.registered.send_modify(|count| *count += 1);
    controller.outbox_changed.notify_waiters();

    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(event) = event(message)
            && events.send(event).await.is_err()
        {
            return Ok(());
        }
        message = loop {
            // cancel-safe: both arms only take what is there.
            tokio::select! {
                next = messages.message() => match next? {
                    Some(message) => break message,
                    None => {
                        return Err(Status::unavailable("the controller ended the status stream").into());
                    }
                },
                _ = again.tick() => {
                    match register(controller).await {
                        Ok(()) => {
                            controller.outbox().again();
                            controller.outbox_changed.notify_waiters();
                        }
                        Err(failed) => {
                            tracing::debug!(error = failed.text, "Not registered again.");
                        }
                    }
                }
            }
        };
    }
}

/// A trouble without its numbers: times of day and ports of the moment make it no other one.
fn gist(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_ascii_digit())
}

/// Seconds, for people.
fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

async fn register(controller: &Controller) -> Result<(), Failed> {
    let request = RegisterRequest {
        labels: controller.report.labels.clone(),
        reports: controller.report.reports.clone(),
    };
    let request = controller.request(request)?;
    within(ATTEMPT, controller.service().register(request))
        .await
        .map_err(|status| Failed::at_register(&status, &controller.identity))?;
    Ok(())
}

/// Where the lab collects log lines.
pub(super) async fn endpoints(controller: &Controller) -> Result<Vec<TelemetryEndpoint>, Failed> {
    let request = controller.request(GetServiceEndpointsRequest {})?;
    let answer = within(ATTEMPT, controller.service().get_service_endpoints(request)).await?;
    Ok(answer.telemetry_endpoints)
}

/// What a message means; nothing when it makes no sense.
fn event(message: StatusResponse) -> Option<Event> {
    let StatusResponse {
        leased,
        lease_name,
        client_name,
        ..
    } = message;
    if !leased {
        return Some(Event::Status(None));
    }
    let name = lease_name.unwrap_or_default();
    let client = client_name.unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME || client.len() > MAX_NAME {
        tracing::warn!(
            name_bytes = name.len(),
            client_bytes = client.len(),
            "The controller speaks of a lease without a usable name; nothing is done for it."
        );
        return None;
    }
    Some(Event::Status(Some(Lease { name, client })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(leased: bool, name: &str) -> StatusResponse {
        StatusResponse {
            leased,
            lease_name: Some(name.into()),
            ..StatusResponse::default()
        }
    }

    #[test]
    fn a_lease_without_a_usable_name_is_no_lease_and_no_end_of_one() {
        assert_eq!(event(message(true, "")), None);
        assert_eq!(event(message(true, &"x".repeat(2000))), None);
        assert_eq!(event(message(false, "old")), Some(Event::Status(None)));
        let lease = Lease {
            name: "a".into(),
            client: String::new(),
        };
        assert_eq!(event(message(true, "a")), Some(Event::Status(Some(lease))));
    }
}
