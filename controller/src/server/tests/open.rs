//! What everybody may ask, without credentials.

use std::pin::pin;

use futures::StreamExt as _;
use rigd_proto::client::v1::client_service_client::ClientServiceClient;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::{
    super::{health::SERVICES, reflection},
    *,
};

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

#[tokio::test]
async fn the_lab_and_its_services_serve_until_the_end_begins() {
    let site = Site::open().await;
    let mut health = HealthClient::new(site.channel().await);
    for service in [
        "",
        "jumpstarter.client.v1.ClientService",
        "jumpstarter.v1.ControllerService",
        "jumpstarter.v1.RouterService",
    ] {
        let answer = health.check(check(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(check("jumpstarter.v1.ExporterService")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);

    let mut watched = health.watch(check("")).await.unwrap().into_inner();
    let mut unknown = health.watch(check("x")).await.unwrap().into_inner();
    let told = unknown.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::ServiceUnknown);
    let told = watched.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);
    site.shutdown.cancel();
    let told = tokio::time::timeout(SOON, watched.message()).await;
    let told = told.expect("told at once").unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn only_so_many_watch() {
    let site = Site::open().await;
    let mut health = HealthClient::new(site.channel().await);
    let mut watches = Vec::new();
    for _ in 0..64 {
        watches.push(health.watch(check("")).await.unwrap());
    }
    let refused = health.watch(check("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    health.check(check("")).await.unwrap();
}

#[tokio::test]
async fn only_so_many_ask_what_there_is_and_none_for_ever() {
    let site = Site::open().await;
    let channel = site.channel().await;
    // The connection of somebody who is known is not closed.
    let alice = site.credentials(Kind::Client, "alice");
    let mut alice = ClientServiceClient::with_interceptor(channel.clone(), alice);
    alice.list_exporters(everything()).await.unwrap();
    let mut asking = Vec::new();
    for number in 0..reflection::MAX_STREAMS {
        asking.push(match number % 2 {
            0 => Asking::V1(ask_v1(&channel).await.unwrap()),
            _ => Asking::V1Alpha(ask_v1alpha(&channel).await.unwrap()),
        });
    }
    for refused in [
        ask_v1(&channel).await.map(drop),
        ask_v1alpha(&channel).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    }
    // A clock that stands still goes ahead while a socket is waited for: only for this moment.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    for one in asking {
        tokio::time::timeout(SOON, one.ends())
            .await
            .expect("asks for ever");
    }
    let again = async {
        while ask_v1(&channel).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(SOON, again).await;
    again.expect("places are free again");
}

enum Asking {
    V1(Streaming<v1::ServerReflectionResponse>),
    V1Alpha(Streaming<v1alpha::ServerReflectionResponse>),
}

impl Asking {
    async fn ends(self) {
        let rest = match self {
            Self::V1(mut answers) => answers.message().await.map(|rest| rest.is_some()),
            Self::V1Alpha(mut answers) => answers.message().await.map(|rest| rest.is_some()),
        };
        assert!(!rest.unwrap());
    }
}

async fn ask_v1(
    channel: &Channel,
) -> Result<Streaming<v1::ServerReflectionResponse>, tonic::Status> {
    use v1::server_reflection_client::ServerReflectionClient;
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client
        .server_reflection_info(tokio_stream::pending())
        .await?;
    Ok(answers.into_inner())
}

async fn ask_v1alpha(
    channel: &Channel,
) -> Result<Streaming<v1alpha::ServerReflectionResponse>, tonic::Status> {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client
        .server_reflection_info(tokio_stream::pending())
        .await?;
    Ok(answers.into_inner())
}

macro_rules! reflected {
    ($channel:expr, $version:ident, $wish:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest::*,
            server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            message_request: Some($wish),
            ..Default::default()
        };
        let mut client = ServerReflectionClient::new($channel.clone());
        let requests = tokio_stream::once(request);
        let answers = client.server_reflection_info(requests).await.unwrap();
        let answer = pin!(answers.into_inner()).next().await.unwrap();
        answer.map(|answer| match answer.message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|one| one.name).collect()
            }
            MessageResponse::FileDescriptorResponse(_) => vec!["a file".to_owned()],
            MessageResponse::ErrorResponse(error) => vec![error.error_message],
            other => panic!("{other:?}"),
        })
    }};
}

#[tokio::test]
async fn the_services_are_described_and_the_daemons_own_is_not() {
    let site = Site::open().await;
    let channel = site.channel().await;
    for listed in [
        reflected!(channel, v1, ListServices(String::new())),
        reflected!(channel, v1alpha, ListServices(String::new())),
    ] {
        let listed: Vec<String> = listed.unwrap();
        for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
            assert!(listed.iter().any(|one| one == service), "{listed:?}");
        }
        assert!(!listed.iter().any(|one| one.contains("rigd")), "{listed:?}");
    }
    let known = "jumpstarter.v1.ControllerService.Dial".to_owned();
    let known = reflected!(channel, v1, FileContainingSymbol(known));
    assert_eq!(known.unwrap(), ["a file"]);
    for own in [
        "rigd.control.v1.ControlService",
        "rigd/control/v1/control.proto",
    ] {
        let own = own.to_owned();
        let told = reflected!(channel, v1, FileContainingSymbol(own.clone()));
        assert!(told.map_or(true, |told: Vec<_>| told != ["a file"]));
        let told = reflected!(channel, v1alpha, FileByFilename(own));
        assert!(told.map_or(true, |told: Vec<_>| told != ["a file"]));
    }
}

#[test]
fn the_descriptors_of_this_build_are_good() {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    reflection::add_to(tonic::service::Routes::default(), &places).unwrap();
}
