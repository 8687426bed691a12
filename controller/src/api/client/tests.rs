//! The service over its port, with the generated client.

mod exporters;
mod leases;
mod lists;
mod tokens;

use rigd_proto::client::v1 as message;
use tonic::{Code, Status};

use super::*;
use crate::{
    sample,
    server::site::{Client, Site},
};

fn lease_name(name: &str) -> String {
    format!("namespaces/lab/leases/{name}")
}

/// An hour of what matches, under this name.
fn wish(name: &str, selector: &str) -> CreateLeaseRequest {
    CreateLeaseRequest {
        parent: "namespaces/lab".into(),
        lease_id: name.into(),
        lease: Some(message::Lease {
            selector: selector.into(),
            duration: sample::seconds(3600),
            // As clients send it.
            exporter_name: Some(String::new()),
            ..message::Lease::default()
        }),
    }
}

async fn ask(client: &mut Client, name: &str, selector: &str) -> message::Lease {
    let answer = client.create_lease(wish(name, selector)).await;
    answer.unwrap().into_inner()
}

async fn get(client: &mut Client, name: &str) -> message::Lease {
    let name = lease_name(name);
    let answer = client.get_lease(GetLeaseRequest { name }).await;
    answer.unwrap().into_inner()
}

async fn update(client: &mut Client, lease: message::Lease) -> Result<message::Lease, Status> {
    let update_mask = None;
    let lease = Some(lease);
    let answer = client
        .update_lease(UpdateLeaseRequest { lease, update_mask })
        .await;
    answer.map(Response::into_inner)
}

async fn delete(client: &mut Client, name: &str) -> Result<(), Status> {
    let name = lease_name(name);
    let answer = client.delete_lease(DeleteLeaseRequest { name }).await;
    answer.map(Response::into_inner)
}

/// Type, status and reason of the last condition.
fn last(lease: &message::Lease) -> (&str, &str, &str) {
    let last = lease.conditions.last().expect("there is a condition");
    (last.r#type(), last.status(), last.reason())
}

/// Code and text.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}
