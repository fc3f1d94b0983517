//! Each kind of violation in a history made by hand, and none in a healthy one.

use super::*;
use crate::history::{At, Item, Page, Text};
use crate::plan::Setting;
use sterna_proto::Position;

const AT: At = At { client: 0, connection: 1, channel: 0 };

fn plan() -> Plan {
    let mut plan = Plan::of(Setting::Alone, 0);
    plan.roles.truncate(1);
    plan.roles[0].ordered = true;
    plan.channels = 1;
    plan
}

fn text(seq: u64) -> Text {
    Text { client: 0, seq }
}

fn item(offset: u64, seq: u64) -> Item {
    Item { position: Position::new(7, offset), id: offset, server_ts_ms: offset, text: text(seq) }
}

fn acked(offset: u64, seq: u64) -> What {
    let position = Position::new(7, offset);
    What::Acked { channel: 0, text: text(seq), position, duplicate: false }
}

fn delivered(offset: u64, seq: u64) -> What {
    What::Delivered { client: 0, channel: 0, position: Position::new(7, offset), text: text(seq) }
}

/// Two publications, one on a page and one pushed.
fn healthy() -> Vec<What> {
    let page = Page {
        since: Position::EARLIEST,
        position: Position::new(7, 1),
        items: vec![item(1, 1)],
        live: true,
        head: 1,
        gap: None,
        keep_upto: None,
    };
    vec![
        What::Sent { channel: 0, text: text(1), attempt: 1 },
        What::Committed { channel: 0, item: item(1, 1) },
        acked(1, 1),
        What::Page { at: AT, page },
        delivered(1, 1),
        What::Sent { channel: 0, text: text(2), attempt: 1 },
        What::Committed { channel: 0, item: item(2, 2) },
        What::Pushed { at: AT, item: item(2, 2) },
        delivered(2, 2),
        acked(2, 2),
        What::Receipt { client: 0, channel: 0, user: 0, delivered: 2, read: 2 },
        What::Final { channel: 0, items: vec![item(1, 1), item(2, 2)] },
    ]
}

fn invariants(history: Vec<What>) -> Vec<&'static str> {
    let event = |(at_ms, what)| Event { at_ms, what };
    let events: Vec<Event> = (0..).map(|n| n * 1000).zip(history).map(event).collect();
    let mut found: Vec<_> = check(&plan(), &events).iter().map(|found| found.invariant).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_healthy_history_passes() {
    assert_eq!(invariants(healthy()), Vec::<&str>::new());
}

#[test]
fn every_kind_of_violation_is_named() {
    type Change = fn(&mut Vec<What>);
    let cases: [(&str, Change); 15] = [
        ("I1", |h| h[9] = acked(3, 2)),
        ("I1", |h| h[9] = acked(1, 2)),
        ("I1", |h| h[11] = What::Final { channel: 0, items: vec![item(1, 1)] }),
        ("I2", |h| h[6] = What::Committed { channel: 0, item: item(3, 2) }),
        ("I2", |h| h[5] = What::Sent { channel: 0, text: text(1), attempt: 1 }),
        ("I3", |h| h[6] = What::Committed { channel: 0, item: item(2, 1) }),
        ("I4", |h| h.swap(1, 2)),
        ("I4", |h| h.swap(6, 7)),
        ("I5", |h| h[3] = What::Gap { at: AT, after: 0, upto: 1 }),
        ("I8", |h| h.push(What::Receipt { client: 0, channel: 0, user: 0, delivered: 1, read: 1 })),
        ("I10", |h| {
            h[6] = What::Committed { channel: 0, item: Item { id: 1, ..item(2, 2) } };
        }),
        ("I11", |h| h.push(What::Leaked { client: 0, channel: 0, offset: 1 })),
        ("I11", |h| h.push(What::TicketStolen { resumed: true })),
        ("I13", |h| h.insert(8, What::Pushed { at: AT, item: item(2, 2) })),
        ("I13", |h| {
            h.remove(8);
        }),
    ];
    for (index, (invariant, change)) in cases.into_iter().enumerate() {
        let mut history = healthy();
        change(&mut history);
        let found = invariants(history);
        assert!(found.contains(&invariant), "case {index}: {invariant} is not in {found:?}");
    }
}

#[test]
fn i11_a_revoked_session_that_goes_on_is_named() {
    let opened = |resumed| What::Opened { client: 0, user: 0, session: 5, resumed };
    let mut history = healthy();
    history.extend([opened(false), What::Revoked { user: 0 }]);
    history.extend([What::Healed, opened(true)]);
    assert_eq!(invariants(history), ["I11"]);
}
