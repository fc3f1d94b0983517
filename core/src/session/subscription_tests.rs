//! A subscription against pushes, pages and changes of class in any order.

use super::*;
use crate::push::EncodedPush;
use proptest::prelude::*;

fn subscription(max_held: usize) -> Subscription {
    let channel = ChannelId::new("room:1").unwrap();
    let key = channel.key();
    Subscription::new(channel, key, max_held)
}

fn push(offset: u64) -> SharedPush {
    EncodedPush::new(v1::push::Event::Publication(v1::Publication { offset, ..Default::default() }))
}

fn page(position: u64, head: u64) -> v1::Subscribed {
    v1::Subscribed {
        position: Some(v1::Position { epoch: 1, offset: position }),
        head_offset: head,
        ..Default::default()
    }
}

#[test]
fn pushes_that_overtake_the_page_follow_it() {
    let mut subscription = subscription(8);
    subscription.on_attach_started(1);
    for offset in [11, 12] {
        let delivery = subscription.handle_delivery(1, Offset(offset), &push(offset));
        assert_eq!(delivery, Delivery::Nothing);
    }
    let mut page = page(10, 10);
    let follow = subscription.handle_page(1, &mut page);
    assert!(page.live);
    assert_eq!(follow.len(), 2);
    assert_eq!(subscription.handle_delivery(1, Offset(12), &push(12)), Delivery::Nothing);
    assert_eq!(subscription.handle_delivery(1, Offset(13), &push(13)), Delivery::Push);
}

#[test]
fn i12_what_cannot_be_held_makes_another_page() {
    let mut subscription = subscription(2);
    subscription.on_attach_started(1);
    for offset in 11..=14 {
        subscription.handle_delivery(1, Offset(offset), &push(offset));
    }
    let mut first = page(10, 10);
    assert!(subscription.handle_page(1, &mut first).is_empty());
    assert_eq!((first.live, first.head_offset), (false, 14));
    subscription.on_attach_started(2);
    let mut second = page(14, 14);
    subscription.handle_page(2, &mut second);
    assert!(second.live);
}

#[test]
fn i5_after_an_older_page_that_comes_last_nothing_follows_until_the_client_asks() {
    let mut subscription = subscription(8);
    subscription.on_attach_started(1);
    subscription.on_attach_started(2);
    let mut newer = page(10, 10);
    subscription.handle_page(2, &mut newer);
    assert!(newer.live);
    assert_eq!(subscription.handle_delivery(1, Offset(11), &push(11)), Delivery::Push);
    let mut older = page(7, 9);
    assert!(subscription.handle_page(1, &mut older).is_empty());
    assert!(!older.live, "whoever reads this asks again");
    assert_eq!(subscription.handle_delivery(1, Offset(12), &push(12)), Delivery::Beacon);
    subscription.on_attach_started(3);
    let mut asked = page(12, 12);
    subscription.handle_page(3, &mut asked);
    assert_eq!(subscription.handle_delivery(1, Offset(13), &push(13)), Delivery::Push);
    // One that comes while a newer one is on its way changes nothing.
    subscription.on_attach_started(4);
    subscription.handle_page(3, &mut page(12, 13));
    subscription.handle_page(4, &mut page(13, 13));
    assert_eq!(subscription.handle_delivery(1, Offset(14), &push(14)), Delivery::Push);
}

fn background(position: u64) -> Subscription {
    let mut subscription = subscription(8);
    subscription.set_activity(v1::Activity::Background);
    subscription.on_attach_started(1);
    subscription.handle_page(1, &mut page(position, position));
    subscription
}

#[test]
fn i5_what_the_background_held_back_is_a_gap_and_nothing_else_is() {
    let mut subscription = background(10);
    assert_eq!(subscription.set_activity(v1::Activity::Active), Delivery::Nothing);
    assert_eq!(subscription.handle_delivery(1, Offset(11), &push(11)), Delivery::Push);
    subscription.set_activity(v1::Activity::Background);
    assert_eq!(subscription.note_head(Position::new(1, 11)), Delivery::Nothing, "is known");
    assert_eq!(subscription.note_head(Position::new(1, 14)), Delivery::Beacon);
    assert_eq!(subscription.note_head(Position::new(1, 14)), Delivery::Nothing, "was told");
    assert!(!subscription.is_behind(), "it wants to be");
    assert_eq!(subscription.set_activity(v1::Activity::Foreground), Delivery::Gap);
    let gap = subscription.gap();
    assert_eq!((gap.after_offset, gap.upto_offset), (11, 14));
}

#[test]
fn i5_in_the_background_a_client_stays_where_it_is() {
    for (since, has_missed) in [
        (Position::new(1, 10), false),
        (Position::new(1, 7), true),
        // Of an epoch that the owner has to explain, and from the future.
        (Position::new(5, 10), true),
        (Position::new(1, 12), true),
    ] {
        let mut subscription = subscription(8);
        subscription.set_activity(v1::Activity::Background);
        subscription.on_attach_started(1);
        let mut end = page(10, 10);
        assert!(subscription.handle_end(1, &mut end, since).is_empty());
        assert!(end.live, "heads follow");
        assert_eq!(end.position.map(Position::from), Some(since));
        let expected = if has_missed { Delivery::Gap } else { Delivery::Nothing };
        assert_eq!(subscription.set_activity(v1::Activity::Active), expected, "{since}");
    }
}

#[test]
fn i5_who_comes_forward_while_the_end_is_asked_for_asks_for_the_rest() {
    let mut subscription = subscription(8);
    subscription.set_activity(v1::Activity::Background);
    subscription.on_attach_started(1);
    subscription.set_activity(v1::Activity::Active);
    subscription.handle_delivery(1, Offset(11), &push(11));
    let mut end = page(10, 10);
    assert!(subscription.handle_end(1, &mut end, Position::new(1, 7)).is_empty());
    assert!(!end.live && subscription.is_behind());
    assert_eq!((end.position.unwrap().offset, end.head_offset), (7, 11));
}

proptest! {
    /// I5, I13: however deliveries, losses and pages interleave, what reaches the connection
    /// while live is contiguous, and after the last page nothing is missing.
    #[test]
    fn i13_what_is_pushed_is_contiguous(steps in proptest::collection::vec(0u8..12, 1..200)) {
        let mut subscription = subscription(4);
        let (mut head, mut client, mut call) = (0u64, 0u64, 0u32);
        let mut asked: Option<(u32, u64)> = None;
        let mut recovering = true;
        let settle = |subscription: &mut Subscription, client: &mut u64, (call, upto): (u32, u64)| {
            let mut page = page((*client + 3).min(upto).max(*client), upto);
            let follow = subscription.handle_page(call, &mut page);
            *client = page.position.unwrap().offset + follow.len() as u64;
            !page.live
        };
        for step in steps {
            match step {
                // Committed and delivered, committed and lost on the link, head beacon.
                0..=4 => {
                    head += 1;
                    match subscription.handle_delivery(1, Offset(head), &push(head)) {
                        Delivery::Push => {
                            prop_assert_eq!(head, client + 1);
                            client = head;
                        }
                        Delivery::Gap => recovering = true,
                        Delivery::Nothing | Delivery::Beacon => {}
                    }
                }
                5 => head += 1,
                6 => {
                    if subscription.handle_head(Position::new(1, head)) == Delivery::Gap {
                        recovering = true;
                    }
                }
                10 => drop(subscription.set_activity(v1::Activity::Background)),
                11 => if subscription.set_activity(v1::Activity::Active) == Delivery::Gap {
                    recovering = true;
                }
                7..=8 if recovering && asked.is_none() => {
                    call += 1;
                    subscription.on_attach_started(call);
                    asked = Some((call, head));
                }
                _ => if let Some(page) = asked.take() {
                    recovering = settle(&mut subscription, &mut client, page);
                },
            }
        }
        subscription.set_activity(v1::Activity::Active);
        if let Some(page) = asked.take() {
            settle(&mut subscription, &mut client, page);
        }
        subscription.handle_head(Position::new(1, head));
        for _ in 0..=head {
            if subscription.mode == Mode::Live { break }
            call += 1;
            subscription.on_attach_started(call);
            settle(&mut subscription, &mut client, (call, head));
        }
        prop_assert_eq!(client, head);
    }
}
