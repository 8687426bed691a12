//! The object of a client.

use std::time::SystemTime;

use serde::Deserialize;

use super::{
    Condition, Detail, Lab, Node, ObjectMeta, ObjectReference, ReadError, Row, Timestamp,
    node::{ToNode, map, unless_empty},
    object::Kind,
};
use crate::model;

/// Who may ask for leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: ClientSpec,
    /// What is.
    pub status: Option<ClientStatus>,
}

/// What is wanted of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSpec {
    /// Its name at an identity provider.
    pub username: Option<String>,
}

/// What a client has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientStatus {
    /// What is told of it.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Name of its token.
    pub credential: Option<ObjectReference>,
    /// Where the controller is.
    #[serde(default)]
    pub endpoint: String,
    /// When its token is no good any more.
    pub token_expires_at: Option<Timestamp>,
}

impl Client {
    /// The object of a client of a lab.
    pub fn from_model(name: &str, client: &model::Client, lab: &Lab<'_>) -> Self {
        Self {
            metadata: ObjectMeta::of(name, client.uid, client.created, client.labels.clone(), lab),
            spec: ClientSpec::default(),
            status: Some(ClientStatus {
                credential: Some(ObjectReference::to(format!("{name}-client"))),
                endpoint: lab.endpoint.to_owned(),
                ..ClientStatus::default()
            }),
        }
    }

    /// The client of an object. Tokens from before its creation are no good.
    ///
    /// # Errors
    /// Labels or the uid make no sense.
    pub fn to_model(&self, now: SystemTime) -> Result<model::Client, ReadError> {
        let created = self.metadata.created(now);
        Ok(model::Client {
            uid: self.metadata.uid()?,
            labels: self.metadata.labels()?,
            created,
            tokens_from: created,
        })
    }
}

impl Kind for Client {
    const KIND: &'static str = "Client";

    fn parts(&self) -> [Option<Node>; 3] {
        [
            self.metadata.to_node(),
            self.spec.to_node(),
            self.status.to_node(),
        ]
    }
}

impl ToNode for ClientSpec {
    fn to_node(&self) -> Option<Node> {
        Some(map([("username", self.username.to_node())]))
    }
}

impl ToNode for ClientStatus {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("conditions", unless_empty(&self.conditions)),
            ("credential", self.credential.to_node()),
            ("endpoint", self.endpoint.to_node()),
            ("tokenExpiresAt", self.token_expires_at.to_node()),
        ]))
    }
}

impl Row for Client {
    fn full_name(&self) -> String {
        format!("client.jumpstarter.dev/{}", self.metadata.name)
    }

    fn columns(_: Detail) -> Vec<&'static str> {
        vec!["NAME", "ENDPOINT"]
    }

    fn rows(&self, _: Detail, _: SystemTime) -> Vec<Vec<String>> {
        let endpoint = self.status.as_ref().map(|status| status.endpoint.clone());
        vec![vec![
            self.metadata.name.clone(),
            endpoint.unwrap_or_default(),
        ]]
    }
}
