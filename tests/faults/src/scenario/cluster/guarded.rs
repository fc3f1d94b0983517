//! A channel for members alone, one of whom is removed in the middle of a fault (I11). The warden at
//! one edge speaks all the time, and notes when; a fellow and a guest listen at another one. Ends
//! with the value.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sterna_client::{ChannelId, Client, CreateChannel, Error, Event, Subscribe, UserId, v1};
use sterna_system_tests::node::PATIENCE;
use tokio::task::JoinSet;

use crate::place::Place;
use crate::workload::within;

/// How long a removed member's session may still hear something (I11).
const GRACE: Duration = Duration::from_secs(5);
/// Publications behind that which the fellow hears before the guest is judged.
const BEHIND: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Guarded {
    channel: ChannelId,
    guest_name: UserId,
    warden: Client,
    /// When each publication was given to the SDK; its text is its index.
    said: Shared<Instant>,
    fellow: Shared<usize>,
    guest: Shared<usize>,
    clients: Vec<Client>,
    _tasks: JoinSet<()>,
}

type Shared<T> = Arc<Mutex<Vec<T>>>;

impl Guarded {
    /// Makes the channel, and returns when both have heard something.
    pub(super) async fn start(place: &Place, at: usize) -> Self {
        let channel = ChannelId::new(&format!("room:guarded-{at}")).unwrap();
        let user = |name: &str| format!("{name}-{at}");
        let at_edge = |edge, name: &str| place.clone().facing(edge).builder(&user(name));
        let [warden, fellow, guest] = [(0, "warden"), (1, "fellow"), (1, "guest")]
            .map(|(edge, name)| at_edge(edge, name).build().unwrap());
        let clients = vec![warden.clone(), fellow.clone(), guest.clone()];
        for client in &clients {
            client.connect();
            client.ready(PATIENCE).await.unwrap();
        }
        let members = ["fellow", "guest"]
            .map(|name| v1::Member { user: user(name), role: v1::Role::Member.into() });
        let create = CreateChannel { members: members.to_vec(), ..CreateChannel::default() };
        within("a channel is made", until_done(|| warden.create_channel(&channel, create.clone())))
            .await;
        let mut tasks = JoinSet::new();
        let [heard_by_fellow, heard_by_guest] = [fellow, guest].map(|client| {
            let heard = Shared::default();
            tasks.spawn(listen(client, channel.clone(), heard.clone()));
            heard
        });
        let said = Shared::default();
        tasks.spawn(speak(warden.clone(), channel.clone(), said.clone()));
        let guest_name = UserId::new(&user("guest")).unwrap();
        let guarded = Self {
            channel,
            guest_name,
            warden,
            said,
            fellow: heard_by_fellow,
            guest: heard_by_guest,
            clients,
            _tasks: tasks,
        };
        within("the members hear the warden", async {
            while lock(&guarded.fellow).is_empty() || lock(&guarded.guest).is_empty() {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        guarded
    }

    /// Removes the guest; returns when that was answered for.
    pub(super) async fn expel(&self) {
        let remove = || self.warden.remove_member(&self.channel, &self.guest_name);
        within("a member is removed", until_done(remove)).await;
    }

    /// To be asked when the fault is over and the guest is removed: what he heard that was said
    /// more than [`GRACE`] after now. Waits until the fellow has heard enough of that.
    pub(super) async fn heard_too_long(self) -> Option<String> {
        let over = Instant::now() + GRACE;
        let said_later = |text: usize| lock(&self.said).get(text).is_some_and(|at| *at > over);
        let heard_later = |heard: &Shared<usize>| -> Vec<usize> {
            let heard = lock(heard).clone();
            heard.into_iter().filter(|text| said_later(*text)).collect()
        };
        within("the fellow hears what is said later", async {
            while heard_later(&self.fellow).len() < BEHIND {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        let too_late = heard_later(&self.guest);
        for client in &self.clients {
            client.close().await;
        }
        let first = too_late.first()?;
        let told = format!(
            "the guest of {} heard {first} and {} more that were said more than \
                            {GRACE:?} after the end",
            self.channel,
            too_late.len() - 1
        );
        Some(told)
    }
}

async fn speak(warden: Client, channel: ChannelId, said: Shared<Instant>) {
    loop {
        let text = {
            let mut said = lock(&said);
            said.push(Instant::now());
            said.len() - 1
        };
        // Whether the log keeps its promises is the workload's business.
        let _ = warden.publish(&channel, text.to_string()).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(client: Client, channel: ChannelId, heard: Shared<usize>) {
    let mut subscription = client.subscribe(&channel, Subscribe::earliest()).unwrap();
    while let Some(event) = subscription.next().await {
        // What the log says about members is nobody's word.
        if let Event::Publication(publication) = event
            && publication.member.is_none()
        {
            let text = String::from_utf8(publication.payload.to_vec()).unwrap();
            lock(&heard).push(text.parse().unwrap());
        }
    }
}

/// Asks again for as long as nodes do not reach each other. An attempt whose answer was lost may have
/// done it; the next one is refused for good then.
async fn until_done<T, F>(mut ask: impl FnMut() -> F)
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match ask().await {
            Ok(_) | Err(Error::Rejected { retryable: false, .. }) => return,
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn lock<T>(shared: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
