//! The client's side of a test: how it is built and what is waited for.

use std::time::Duration;

use sterna_client::{
    ChannelId, Client, ClientBuilder, ClientState, Error, Event, Subscription, SubscriptionState,
    Transport,
};

use super::Node;

pub const LONG: Duration = Duration::from_secs(20);

pub fn builder(node: &Node) -> ClientBuilder {
    Client::builder(format!("sterna://localhost:{}", node.address.port()))
        .connect_to(node.address)
        .root_certificates_pem(node.ca_pem.clone())
        .token("token")
}

pub async fn connect(builder: ClientBuilder) -> Client {
    let client = builder.build().unwrap();
    client.connect();
    client.ready(LONG).await.unwrap();
    client
}

pub fn room() -> ChannelId {
    ChannelId::new("room:1").unwrap()
}

pub async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(LONG, subscription.next()).await.expect("no event").unwrap()
}

pub async fn live(subscription: &mut Subscription) -> (bool, bool) {
    loop {
        if let Event::State(SubscriptionState::Subscribed { was_recovering, recovered, .. }) =
            next(subscription).await
        {
            return (was_recovering, recovered);
        }
    }
}

pub async fn publications(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        if let Event::Publication(publication) = next(subscription).await {
            found.push(String::from_utf8(publication.payload.to_vec()).unwrap());
        }
    }
    found
}

pub fn transport(client: &Client) -> Transport {
    match client.state() {
        ClientState::Connected(connected) => connected.transport,
        other => panic!("{other:?}"),
    }
}

pub async fn until_state(client: &Client, condition: impl Fn(&ClientState) -> bool) -> ClientState {
    let mut states = client.states();
    tokio::time::timeout(LONG, async {
        loop {
            let state = states.next().await.unwrap();
            if condition(&state) {
                return state;
            }
        }
    })
    .await
    .unwrap()
}

/// Why the first attempt failed.
pub async fn first_failure(client: &Client) -> Error {
    let failed = until_state(client, |state| {
        matches!(state, ClientState::Connecting { last_error: Some(_), .. })
    });
    match failed.await {
        ClientState::Connecting { last_error: Some(error), .. } => error,
        other => panic!("{other:?}"),
    }
}
