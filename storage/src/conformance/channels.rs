//! Promises of the channel store.

use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, UserId};
use tokio::task::JoinSet;

use super::{Open, key, marker, name_of, record, user};
use crate::{
    Append, AppendError, ChannelRecord, Created, Head, Membership, MembershipChange, Stores,
};

pub async fn create_stores_channel_and_members(open: Open<'_>) {
    let channels = open().channels;
    let made = channel("räum/東京:42");
    assert_eq!(channels.channel(made.name.key()).await.unwrap(), None);
    let members = vec![member("alice", Role::Owner), member("bob", Role::Reader)];
    assert_eq!(channels.create(made.clone(), members.clone()).await.unwrap(), Created::New);
    assert_eq!(channels.channel(made.name.key()).await.unwrap(), Some(made.clone()));
    assert_eq!(channels.members(made.name.key(), None, 10).await.unwrap(), members);
    assert_eq!(channels.member_count(made.name.key()).await.unwrap(), 2);
}

pub async fn a_channel_is_created_once(open: Open<'_>) {
    let channels = open().channels;
    let first = channel("room");
    channels.create(first.clone(), vec![member("alice", Role::Owner)]).await.unwrap();
    let second = ChannelRecord {
        kind: ChannelKind::Broadcast,
        access: ChannelAccess::Open,
        created_by: user("bob"),
        created_at_ms: 99,
        ..first.clone()
    };
    let verdict = channels.create(second, vec![member("bob", Role::Owner)]).await.unwrap();
    assert_eq!(verdict, Created::Exists(first.clone()));
    assert_eq!(channels.channel(key("room")).await.unwrap(), Some(first));
    assert_eq!(channels.member(key("room"), user("bob")).await.unwrap(), None);
}

pub async fn of_many_creators_one_is_new(open: Open<'_>) {
    let channels = open().channels;
    let mut creators = JoinSet::new();
    for n in 0..8u64 {
        let channels = channels.clone();
        creators.spawn(async move {
            let creator = user(&format!("user{n}"));
            let wish = ChannelRecord { created_by: creator.clone(), ..channel("room") };
            let first = Membership { user: creator.clone(), role: Role::Owner, since_ms: n };
            (creator, channels.create(wish, vec![first]).await.unwrap())
        });
    }
    let verdicts = creators.join_all().await;
    let new: Vec<&UserId> = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Created::New)
        .map(|(creator, _)| creator)
        .collect();
    assert_eq!(new.len(), 1, "{verdicts:?}");
    for (_, verdict) in &verdicts {
        if let Created::Exists(found) = verdict {
            assert_eq!(&found.created_by, new[0]);
        }
    }
    assert_eq!(channels.member_count(key("room")).await.unwrap(), 1);
    assert!(channels.member(key("room"), new[0].clone()).await.unwrap().is_some());
}

pub async fn channels_are_listed_in_name_order(open: Open<'_>) {
    let channels = open().channels;
    let mut names: Vec<ChannelId> =
        (0..25).map(|n| name_of(&format!("room:{}", (n * 7) % 25))).collect();
    for name in &names {
        let record = ChannelRecord { name: name.clone(), ..channel("any") };
        channels.create(record, Vec::new()).await.unwrap();
    }
    names.sort();
    let mut listed: Vec<ChannelId> = Vec::new();
    loop {
        let page = channels.channels(listed.last().cloned(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        listed.extend(page.into_iter().map(|record| record.name));
    }
    assert_eq!(listed, names);
    assert_eq!(channels.channels(None, 0).await.unwrap(), []);
}

pub async fn members_are_set_replaced_and_removed_by_appends(open: Open<'_>) {
    let Stores { channels, log, .. } = open();
    channels.create(channel("room"), vec![member("alice", Role::Owner)]).await.unwrap();
    let mut head = None;
    let mut change = async |changes: Vec<MembershipChange>| {
        let expected = head.as_ref().map(|head: &Head| head.position);
        let marks = changes.iter().map(|_| marker()).collect();
        let append = Append { members: changes, ..Append::new(key("room"), expected, marks) };
        head = Some(log.append(vec![append]).await.remove(0).unwrap());
        let found = channels.member(key("room"), user("bob")).await.unwrap();
        (found.map(|member| member.role), channels.member_count(key("room")).await.unwrap())
    };
    let set = |role| MembershipChange::Set(member("bob", role));
    let removed = || MembershipChange::Removed(user("bob"));
    assert_eq!(change(vec![set(Role::Reader)]).await, (Some(Role::Reader), 2));
    assert_eq!(change(vec![set(Role::Admin)]).await, (Some(Role::Admin), 2));
    assert_eq!(change(vec![removed()]).await, (None, 1));
    assert_eq!(change(vec![removed()]).await, (None, 1), "nothing to remove is no error");
    let both = vec![set(Role::Reader), removed(), set(Role::Member)];
    assert_eq!(change(both).await, (Some(Role::Member), 2), "in their order");
    assert_eq!(change(vec![set(Role::Owner), removed()]).await, (None, 1), "in their order");
}

/// I11: the log and the members agree, whoever of two writers was first.
pub async fn i11_a_change_of_members_comes_with_its_append_or_not_at_all(open: Open<'_>) {
    let Stores { channels, log, .. } = open();
    channels.create(channel("room"), vec![member("alice", Role::Owner)]).await.unwrap();
    let first = Append {
        members: vec![MembershipChange::Set(member("bob", Role::Member))],
        ..Append::new(key("room"), None, vec![record("a", 1)])
    };
    let stale = Append { members: vec![MembershipChange::Removed(user("alice"))], ..first.clone() };
    let head = log.append(vec![first]).await.remove(0).unwrap();
    let verdict = log.append(vec![stale.clone()]).await.remove(0);
    assert!(matches!(verdict, Err(AppendError::Conflict { .. })), "{verdict:?}");
    let again = Append { expected: Some(head.position), ..stale };
    let verdict = log.append(vec![again]).await.remove(0);
    assert!(matches!(verdict, Err(AppendError::Duplicates(_))), "{verdict:?}");
    let listed = channels.members(key("room"), None, 9).await.unwrap();
    assert_eq!(listed, [member("alice", Role::Owner), member("bob", Role::Member)]);
}

pub async fn members_are_paged_in_user_order(open: Open<'_>) {
    let channels = open().channels;
    let mut all: Vec<Membership> =
        (0..23).map(|n| member(&format!("user{}", (n * 5) % 23), Role::Member)).collect();
    channels.create(channel("room"), all.clone()).await.unwrap();
    all.sort_by(|one, other| one.user.cmp(&other.user));
    let mut listed: Vec<Membership> = Vec::new();
    loop {
        let after = listed.last().map(|member| member.user.clone());
        let page = channels.members(key("room"), after, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        listed.extend(page);
    }
    assert_eq!(listed, all);
}

pub async fn members_of_one_channel_are_not_those_of_another(open: Open<'_>) {
    let channels = open().channels;
    for (name, who) in [("one", "alice"), ("two", "bob"), ("three", "carol")] {
        channels.create(channel(name), vec![member(who, Role::Owner)]).await.unwrap();
    }
    assert_eq!(channels.members(key("two"), None, 9).await.unwrap(), [member("bob", Role::Owner)]);
    assert_eq!(channels.member_count(key("two")).await.unwrap(), 1);
    assert_eq!(channels.member(key("two"), user("alice")).await.unwrap(), None);
    assert_eq!(channels.members(key("four"), None, 9).await.unwrap(), []);
    assert_eq!(channels.member_count(key("four")).await.unwrap(), 0);
}

pub(super) fn channel(name: &str) -> ChannelRecord {
    ChannelRecord {
        name: name_of(name),
        kind: ChannelKind::Group,
        access: ChannelAccess::Members,
        created_by: user("alice"),
        created_at_ms: 1_700_000_000_000,
    }
}

pub(super) fn member(name: &str, role: Role) -> Membership {
    Membership { user: user(name), role, since_ms: 77 }
}
