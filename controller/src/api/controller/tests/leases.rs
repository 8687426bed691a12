//! Leases end, and older clients ask for them.

use rigd_proto::v1::{
    GetLeaseRequest, LabelSelector, LabelSelectorRequirement, ListLeasesRequest,
    ReleaseLeaseRequest, RequestLeaseRequest,
};

use super::*;
use crate::sample::seconds;

fn release(lease: &str) -> ReleaseLeaseRequest {
    ReleaseLeaseRequest { name: lease.into() }
}

#[tokio::test]
async fn release_by_its_client_or_its_exporter_can_be_repeated() {
    let lab = Lab::new().await;
    let (mut rig, mut status) = lab.there().await;
    let (mut bench, mut other) = (lab.client("bench").await, lab.client("other").await);
    for by_exporter in [false, true] {
        let name = if by_exporter { "two" } else { "one" };
        lab.ask(name, "bench").await;
        assert!(next(&mut status).await.leased);
        let foreign = (Code::Unknown, "ReleaseLease permission denied".to_owned());
        assert_eq!(told(other.release_lease(release(name)).await), foreign);
        let who = if by_exporter { &mut rig } else { &mut bench };
        who.release_lease(release(name)).await.unwrap();
        assert!(!next(&mut status).await.leased);
        let over = lab.engine.read(|world| world.leases[name].clone());
        who.release_lease(release(name)).await.unwrap();
        assert_eq!(lab.engine.read(|world| world.leases[name].clone()), over);
    }
    let missing = "Lease.jumpstarter.dev \"nix\" not found".to_owned();
    assert_eq!(
        told(bench.release_lease(release("nix")).await),
        (Code::Unknown, missing)
    );
    assert_eq!(
        told(rig.release_lease(release("nix")).await).0,
        Code::NotFound
    );
    lab.keep(vec![Change::Exporter("rig-2".into(), Some(exporter()))])
        .await;
    lab.ask("three", "bench").await;
    let mut foreign = lab.exporter("rig-2").await;
    assert_eq!(
        told(foreign.release_lease(release("three")).await).0,
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn the_older_calls_work_on_own_leases() {
    let lab = Lab::new().await;
    let (_rig, _status) = lab.there().await;
    let (mut bench, mut other) = (lab.client("bench").await, lab.client("other").await);
    let expression = |operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: "board".into(),
        operator: operator.into(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let wish = |expression| RequestLeaseRequest {
        duration: seconds(60),
        selector: Some(LabelSelector {
            match_expressions: vec![expression],
            match_labels: Default::default(),
        }),
    };
    let made = bench
        .request_lease(wish(expression("In", &["rpi4", "rpi5"])))
        .await
        .unwrap();
    let name = made.into_inner().name;
    let get = || GetLeaseRequest { name: name.clone() };
    let lease = bench.get_lease(get()).await.unwrap().into_inner();
    let uid = lab
        .engine
        .read(|world| world.exporters["rig-1"].uid.to_string());
    assert_eq!(lease.exporter_uuid, Some(uid));
    assert_eq!(lease.duration, seconds(60));
    assert!(lease.begin_time.is_some() && lease.end_time.is_none());
    let selector = lease.selector.unwrap();
    assert_eq!(
        selector.match_expressions,
        [expression("In", &["rpi4", "rpi5"])]
    );
    let last = lease.conditions.last().unwrap();
    assert_eq!(
        (last.r#type.as_deref(), last.status.as_deref()),
        (Some("Ready"), Some("True"))
    );
    let foreign = (Code::Unknown, "GetLease permission denied".to_owned());
    assert_eq!(told(other.get_lease(get()).await), foreign);
    let list = |names: Result<tonic::Response<rigd_proto::v1::ListLeasesResponse>, Status>| {
        names.unwrap().into_inner().names
    };
    assert_eq!(
        list(bench.list_leases(ListLeasesRequest {}).await),
        [name.as_str()]
    );
    assert!(list(other.list_leases(ListLeasesRequest {}).await).is_empty());
    bench.release_lease(release(&name)).await.unwrap();
    assert!(list(bench.list_leases(ListLeasesRequest {}).await).is_empty());
    for (operator, values) in [("Like", &["x"][..]), ("In", &[]), ("Exists", &["x"])] {
        let wrong = bench
            .request_lease(wish(expression(operator, values)))
            .await;
        assert_eq!(told(wrong).0, Code::Unknown, "{operator}");
    }
    let nothing = RequestLeaseRequest {
        duration: seconds(60),
        selector: None,
    };
    assert_eq!(
        told(bench.request_lease(nothing).await).0,
        Code::InvalidArgument
    );
}
