//! What an owner does with orders about what a channel keeps: retention, holds, redaction, erasure.
//! They are carried out in the store first, and told here then, so that nothing that was given up is
//! answered from memory. Every step may be repeated: who hears of an error gives the order again.

use bytes::Bytes;
use sterna_proto::link::v1::{Keep, keep::Order as Wish};
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelKey, ErrorCode, Offset, PublicationId, UserId, v1};
use sterna_storage::keeping::{Author, Order, REASON_BYTES, REDACTED_AT_ONCE, Retention};
use sterna_storage::{
    KeepingError, NewRecord, PageLimit, PublicationLog, ReadError, Record, Stores,
};
use tokio::sync::oneshot;

use crate::channel::sequence::Verdict;
use crate::channel::shard::{Call, Shard};
use crate::channel::state::PublishTicket;
use crate::channel::work::{Done, answer, unavailable};
use crate::id::IdGenerator;
use crate::identity::Identity;
use crate::link::{LinkReply, Verb};

/// An order that the store has carried out.
#[derive(Debug)]
pub(crate) struct KeptNow {
    author: UserId,
    /// Nothing below is given to anybody.
    floor: Offset,
    redacted: Vec<Offset>,
    /// What is to be told in the channel: the offset that was redacted, 0 for all before, each under
    /// the id of its record.
    markers: Vec<(Offset, PublicationId)>,
}

impl Shard {
    pub(super) fn keep(&mut self, key: ChannelKey, call: Call) {
        let Verb::Keep(wish) = &call.command.verb else { return };
        let upto = self.head_position(&key).offset;
        let by = call.command.caller.identity.user.clone();
        let author =
            Author { by, at_ms: self.context.clock.unix_ms(), reason: wish.reason.clone() };
        let order = match order_of(wish, upto) {
            Ok(order) => order,
            Err(error) => return answer(call.reply, Err(error)),
        };
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            let result = carry_out(&context.stores, &context.ids, key, order, author).await;
            Done::Kept { key, result, reply: call.reply }
        }));
    }

    pub(super) fn on_kept(
        &mut self,
        key: ChannelKey,
        result: Result<KeptNow, v1::Error>,
        reply: oneshot::Sender<LinkReply>,
    ) {
        let kept = match result {
            Ok(kept) => kept,
            Err(error) => return answer(reply, Err(error)),
        };
        let Some(state) = self.channels.get_mut(&key) else {
            let message = "it is done; subscribers are not told yet, give the order again";
            return answer(reply, Err(v1::Error::new(ErrorCode::Unavailable, message)));
        };
        state.give_up_before(kept.floor);
        self.context.flights.forget(key);
        kept.redacted.iter().for_each(|offset| state.ring.redact(*offset));
        if kept.markers.is_empty() {
            return answer(reply, Ok(Reply::Done(v1::Done {})));
        }
        let last = kept.markers.len() - 1;
        let mut reply = Some(reply);
        for (at, (target, id)) in kept.markers.into_iter().enumerate() {
            // They are committed in order: the last one's answer is that of all.
            let reply = reply.take_if(|_| at == last).unwrap_or_else(|| oneshot::channel().0);
            let ticket = PublishTicket::of_marker(reply);
            let record = marker(id, kept.author.clone(), target);
            if let Verdict::Answered(ticket, result) = state.sequence.handle_publish(record, ticket)
            {
                state.answer(ticket, result);
            }
        }
        self.want_append(key);
    }

    /// Takes over what committed records say of earlier ones, whoever has appended them.
    pub(super) fn apply_redactions(&mut self, key: ChannelKey, committed: &[Record]) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        for record in committed {
            if record.body.kind != i32::from(v1::PublicationKind::Redaction) {
                continue;
            }
            match record.body.target_offset {
                Offset::ZERO => state.give_up_before(record.position.offset),
                target => state.ring.redact(target),
            }
        }
    }
}

/// Whether somebody may ask for this at all; the channel's own rules come on top for who is no
/// operator.
pub(super) fn may_order(identity: &Identity, wish: &Keep) -> Result<(), v1::Error> {
    if identity.operator || matches!(wish.order, Some(Wish::Redact(_))) {
        return Ok(());
    }
    let message = "only the operator decides what a channel keeps";
    Err(v1::Error::new(ErrorCode::PermissionDenied, message))
}

fn order_of(wish: &Keep, upto: Offset) -> Result<Order, v1::Error> {
    let bad = |message: String| Err(v1::Error::new(ErrorCode::BadRequest, message));
    if wish.reason.len() > REASON_BYTES {
        return bad(format!("a reason has at most {REASON_BYTES} bytes"));
    }
    Ok(match &wish.order {
        None => return bad("this node does not know the order; it may be older".to_owned()),
        Some(Wish::Retention(retention)) => Order::SetRetention(match retention.millis {
            None => None,
            Some(0) => Some(Retention::Forever),
            Some(millis) => Some(Retention::Millis(millis)),
        }),
        Some(Wish::Hold(true)) => Order::Hold,
        Some(Wish::Hold(false)) => Order::Release,
        Some(Wish::Sealed(sealed)) => Order::Seal(*sealed),
        Some(Wish::Erase(_)) => Order::Erase { upto },
        Some(Wish::RaiseFloor(floor)) => {
            Order::RaiseFloor(Offset((*floor).clamp(1, upto.next().0)))
        }
        Some(Wish::Redact(redact)) => {
            let mut offsets: Vec<Offset> = redact.offsets.iter().copied().map(Offset).collect();
            offsets.sort_unstable();
            offsets.dedup();
            if offsets.is_empty() || offsets.len() > REDACTED_AT_ONCE {
                return bad(format!("name 1 to {REDACTED_AT_ONCE} offsets at once"));
            }
            Order::Redact(offsets)
        }
    })
}

async fn carry_out(
    stores: &Stores,
    ids: &IdGenerator,
    key: ChannelKey,
    order: Order,
    author: Author,
) -> Result<KeptNow, v1::Error> {
    let storage = |error| unavailable(&error);
    if let Order::Redact(offsets) = &order {
        for offset in offsets {
            check_redactable(&*stores.log, key, *offset).await?;
        }
    }
    let by = author.by.clone();
    let kept = stores.keeping.keep(key, order.clone(), author).await.map_err(refused)?;
    let floor = kept.floor;
    let (mut redacted, mut targets) = (Vec::new(), Vec::new());
    match order {
        Order::Redact(offsets) => {
            stores.log.redact(key, offsets.clone()).await.map_err(storage)?;
            (redacted, targets) = (offsets.clone(), offsets);
        }
        Order::Erase { upto } => {
            stores.log.trim(key, floor).await.map_err(storage)?;
            // Of an empty channel there is nothing to tell.
            targets.extend((upto > Offset::ZERO).then_some(Offset::ZERO));
        }
        Order::RaiseFloor(_) => {
            stores.log.trim(key, floor).await.map_err(storage)?;
        }
        Order::SetRetention(_)
        | Order::Hold
        | Order::Release
        | Order::Seal(_)
        | Order::PutKey(_)
        | Order::Rewrap { .. } => {}
    }
    let mut markers = Vec::with_capacity(targets.len());
    for target in targets {
        markers.push((target, next_id(ids).await.map_err(storage)?));
    }
    Ok(KeptNow { author: by, floor, redacted, markers })
}

async fn next_id(ids: &IdGenerator) -> Result<PublicationId, sterna_storage::StorageError> {
    loop {
        match ids.try_next() {
            Ok(id) => return Ok(id),
            Err(bound_ms) => ids.raise(bound_ms).await?,
        }
    }
}

/// Only what users have published is redacted: changes of members are what rights follow from (I11).
async fn check_redactable(
    log: &dyn PublicationLog,
    key: ChannelKey,
    offset: Offset,
) -> Result<(), v1::Error> {
    let bad = |what: &str| {
        let message = format!("offset {}: {what}", offset.0);
        Err(v1::Error::new(ErrorCode::BadRequest, message))
    };
    let Some(before) = offset.0.checked_sub(1) else { return bad("offsets begin with 1") };
    let record = match log.read(key, Offset(before), ONE).await {
        Ok(page) => page.into_iter().next(),
        Err(ReadError::Trimmed { .. }) => return bad("the channel does not have it any more"),
        Err(ReadError::Storage(error)) => return Err(unavailable(&error)),
    };
    let Some(record) = record else { return bad("there is no such publication") };
    match v1::PublicationKind::try_from(record.body.kind) {
        Ok(
            v1::PublicationKind::Membership
            | v1::PublicationKind::Epoch
            | v1::PublicationKind::Redaction,
        ) => bad("this publication was made by the node, and says nothing of anybody's"),
        _ => Ok(()),
    }
}

const ONE: PageLimit = PageLimit { records: 1, payload_bytes: usize::MAX };

fn refused(error: KeepingError) -> v1::Error {
    match error {
        KeepingError::OnHold(hold) => v1::Error::new(
            ErrorCode::OnHold,
            format!("nothing was done: {} has put the channel on hold ({})", hold.by, hold.reason),
        ),
        KeepingError::Storage(error) => unavailable(&error),
        other @ KeepingError::OtherKey => {
            v1::Error::new(ErrorCode::Conflict, format!("nothing was done: {other}"))
        }
    }
}

fn marker(id: PublicationId, sender: UserId, target: Offset) -> NewRecord {
    NewRecord {
        id,
        sender,
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: 0,
        client_ts_ms: 0,
        kind: v1::PublicationKind::Redaction.into(),
        target_offset: target,
        payload: Bytes::new(),
    }
}
