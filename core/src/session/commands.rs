//! What each command of a client becomes: an answer at once, or a call to the channel's owner.
//! Pure; commands whose answer is a page go on in [`pages`](super::pages).

use sterna_proto::v1::command::Verb as Command;
use sterna_proto::{ChannelKey, CloseReason, ErrorCode, Offset, limits, v1};
use tokio::time::Instant;

use crate::link::Verb;
use crate::session::again::Question;
use crate::session::pages::{PageCommand, ReplyTo};
use crate::session::session::{Call, Effect, Session, channel_id, millis};

impl Session {
    /// Takes a command.
    pub fn handle_command(
        &mut self,
        command: v1::Command,
        now: Instant,
        unix_ms: u64,
    ) -> Result<(), CloseReason> {
        let id = command.id;
        let Some(verb) = command.verb else {
            self.fail(id, ErrorCode::BadRequest, "this node does not know the command");
            return Ok(());
        };
        let charged = match &verb {
            Command::Publish(_) => Ok(()),
            other => self.charge(other, now),
        };
        if let Err(error) = charged {
            self.reply_error(id, error);
            return Ok(());
        }
        match verb {
            Command::Hello(_) => return Err(CloseReason::ProtocolError),
            Command::Goodbye(_) => {
                self.forget = true;
                self.start_close(CloseReason::Normal);
            }
            Command::Ping(ping) => self.pong(id, &ping, unix_ms),
            Command::Subscribe(subscribe) => {
                let wanted = PageCommand::Attach(ReplyTo::Command(id), subscribe);
                self.waiting_pages.push_back(wanted);
                self.start_pages();
            }
            Command::History(history) => {
                self.waiting_pages.push_back(PageCommand::History(id, history));
                self.start_pages();
            }
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(id, &unsubscribe.channel),
            Command::Refresh(_) => {
                self.fail(id, ErrorCode::BadRequest, "a token is refreshed by the edge");
            }
            Command::Publish(publish) => self.publish(id, publish, now),
            Command::Sync(sync) => self.sync(id, sync, now),
            Command::ChangeInbox(change) => self.change_inbox(id, change),
            Command::SetActivity(set) => self.set_activity(id, &set),
            other => self.forward(id, other),
        }
        Ok(())
    }

    fn pong(&mut self, id: u32, ping: &v1::Ping, unix_ms: u64) {
        let pong = v1::Pong {
            client_time_ms: ping.client_time_ms,
            server_time_ms: unix_ms,
            observed_address: self.connection.remote.to_string(),
        };
        self.reply(id, v1::reply::Result::Pong(pong));
    }

    fn charge(&mut self, verb: &Command, now: Instant) -> Result<(), v1::Error> {
        let bucket = match verb {
            Command::Ephemeral(_) => &mut self.ephemeral_rate,
            _ => &mut self.command_rate,
        };
        bucket.try_take(now).map_err(rate_limited)
    }

    fn publish(&mut self, id: u32, publish: v1::Publish, now: Instant) {
        let checked = check_len("payload", publish.payload.len(), limits::PAYLOAD_BYTES);
        let addressee = self.addressee(&publish.channel);
        let (channel, key) = match addressee.and_then(|it| checked.map(|()| it)) {
            Ok(addressee) => addressee,
            Err(error) => return self.reply_error(id, error),
        };
        let client_seq = if publish.ordered { publish.client_seq } else { 0 };
        let settled = publish.settled_below;
        let in_turn = client_seq == 0 || self.order.admits(&key, client_seq, settled, now);
        let allowed = if in_turn {
            let of_user = |()| match &self.user_rate {
                Some(shared) => shared.try_take(&self.caller.identity.user),
                None => Ok(()),
            };
            self.publish_rate.try_take(now).and_then(of_user).map_err(rate_limited)
        } else {
            Err(out_of_turn())
        };
        match allowed {
            Ok(()) => {
                let call = Call::Publish { id, key, client_seq };
                let command = self.command(channel, key, Verb::Publish(publish));
                self.start_call(call, command);
            }
            Err(error) => {
                if client_seq > 0 {
                    self.order.on_refused(key, client_seq, now);
                }
                self.reply_error(id, error);
            }
        }
    }

    /// I13: the owner has refused an ordered publication. Those behind it that have not been sent
    /// would overtake it.
    pub(super) fn hold_back(&mut self, key: ChannelKey, refused: u64, now: Instant) {
        self.order.on_refused(key, refused, now);
        let mut behind = Vec::new();
        let calls = &self.calls;
        self.effects.retain(|effect| {
            let Effect::Call { token, .. } = effect else { return true };
            match calls.get(token) {
                Some(Call::Publish { id, key: of, client_seq })
                    if *of == key && *client_seq > refused =>
                {
                    behind.push((*token, *id));
                    false
                }
                _ => true,
            }
        });
        for (token, id) in behind {
            self.calls.remove(&token);
            self.reply_error(id, out_of_turn());
        }
    }

    /// Passes a command on to the owner of its channel.
    fn forward(&mut self, id: u32, verb: Command) {
        match route(verb).and_then(|(name, verb)| Ok((channel_id(&name)?, verb))) {
            Ok((channel, verb)) => {
                let question = Question::new(&channel, &verb);
                self.call(Call::Plain { id, question }, channel, verb);
            }
            Err(error) => self.reply_error(id, error),
        }
    }
}

/// The channel and the owner's verb of a command that is only passed on.
fn route(verb: Command) -> Result<(String, Verb), v1::Error> {
    Ok(match verb {
        Command::Ephemeral(ephemeral) => {
            let len = ephemeral.payload.len() + ephemeral.key.len();
            check_len("ephemeral", len, limits::EPHEMERAL_BYTES)?;
            (ephemeral.channel.clone(), Verb::Ephemeral(ephemeral))
        }
        Command::Presence(query) => (query.channel, Verb::Presence),
        Command::Ack(ack) => {
            let delivered = Offset(ack.offset);
            (ack.channel, Verb::MoveCursor { delivered, read: Offset::ZERO })
        }
        Command::MarkRead(mark) => {
            let read = Offset(mark.offset);
            (mark.channel, Verb::MoveCursor { delivered: read, read })
        }
        Command::CreateChannel(create) => (create.channel.clone(), Verb::CreateChannel(create)),
        Command::SetMember(set) => (set.channel.clone(), Verb::SetMember(set)),
        Command::RemoveMember(remove) => (remove.channel.clone(), Verb::RemoveMember(remove)),
        Command::Members(query) => (query.channel.clone(), Verb::Members(query)),
        _ => return Err(v1::Error::new(ErrorCode::BadRequest, "not a command for a channel")),
    })
}

fn out_of_turn() -> v1::Error {
    let message = "an earlier publication was refused; send that one first";
    v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(100)
}

pub(super) fn rate_limited(wait: std::time::Duration) -> v1::Error {
    metrics::counter!("sterna_core_rate_limited_total").increment(1);
    v1::Error::new(ErrorCode::RateLimited, "too many commands of this kind; slow down")
        .with_retry_after_ms(millis(wait).max(1))
}

fn check_len(what: &str, len: usize, limit: usize) -> Result<(), v1::Error> {
    if len <= limit {
        return Ok(());
    }
    let message = format!("a {what} has at most {limit} bytes; this one has {len}");
    Err(v1::Error::new(ErrorCode::TooLarge, message))
}
