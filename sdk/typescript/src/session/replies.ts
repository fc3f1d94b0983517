// What the server says: replies to what is in flight, and pushes. Pure, but for chance.
import { exact } from "../codec/bytes.js";
import { notAnswered, refusal, SternaError } from "../errors.js";
import { Ephemeral, Publication, presentOf, type SubscriptionEvent } from "../events.js";
import type { Frame, Push, Reply, Subscribed, Error as WireError } from "../wire/schema.js";
import type { Session } from "./session.js";
import { onActivityRefused, onActivitySaid, showHead } from "./subscription/activity.js";
import { handleSubscribed } from "./subscription/answer.js";
import type { Batch, Machine } from "./subscription/machine.js";
import { handlePublication } from "./subscription/pushes.js";

/** Takes a frame of the present connection. What a newer server says beyond this version is passed over. */
export function handleFrame(session: Session, frame: Frame, now: number): void {
  if (frame.reply) handleReply(session, frame.reply, now);
  else if (frame.push) handlePush(session, frame.push, now);
}

function handleReply(session: Session, reply: Reply, now: number): void {
  const answered = session.inFlight.take(reply.id);
  // A reply without its command: of an earlier connection, or forgotten.
  if (!answered) return;
  const { asked, late } = answered;
  switch (asked.verb) {
    case "publish":
      return handlePublished(session, asked.seq, reply, now);
    case "subscribe": {
      // Of a subscription that was dropped since, the channel's next one hears nothing.
      const entry = session.subscriptions.get(asked.channel);
      if (entry?.serial !== asked.serial) return;
      if (!late || mattersLate(entry.machine, reply)) {
        handleSubscribeReply(session, asked.channel, reply, now);
      }
      return;
    }
    case "unsubscribe":
      // Whatever the answer, the server no longer pushes this channel.
      if (session.leaving.get(asked.channel)?.endsWith(reply.id)) {
        session.leaving.delete(asked.channel);
      }
      return;
    case "setActivity": {
      const entry = session.subscriptions.get(asked.channel);
      // After a late answer whatever was wanted since is said already, or waits for a question.
      if (late || entry?.serial !== asked.serial) return;
      const { error } = reply;
      if (!(error && refusal(error).retryable)) onActivitySaid(entry.machine);
      else onActivityRefused(entry.machine, now + retryAfter(error));
      return;
    }
    case "call": {
      const caller = session.calls.take(asked.serial);
      if (reply.error) caller?.failed(refusal(reply.error));
      else caller?.answered(reply);
      return;
    }
    case "ping":
      if (reply.pong) session.stats.roundTrip = now - asked.sent;
      return;
    case "refresh":
      if (!reply.error) session.notices.push({ refreshed: true });
      // After a late refusal the next attempt is due already and hears the same.
      else if (!late) session.notices.push({ refreshFailed: refusal(reply.error) });
  }
}

function handlePublished(session: Session, seq: number, reply: Reply, now: number): void {
  const { error, published } = reply;
  if (published) {
    const position = { epoch: published.epoch, offset: exact(published.offset) };
    const { duplicate } = published;
    const serverTime = exact(published.serverTsMs);
    const id = String(published.id);
    session.outbox.remove(seq)?.set({ name: "acked", position, id, duplicate, serverTime });
  } else if (error && refusal(error).retryable) {
    session.outbox.hold(seq, now + retryAfter(error));
  } else {
    const failure = error ? refusal(error) : notAnswered("publish");
    session.outbox.remove(seq)?.set({ name: "failed", error: failure });
  }
}

function handleSubscribeReply(session: Session, channel: string, reply: Reply, now: number): void {
  if (reply.subscribed) handleSubscribedFrame(session, channel, reply.subscribed, now);
  else if (reply.error) handleRefused(session, channel, reply.error, now);
  else endSubscription(session, channel, notAnswered("subscribe"));
}

function handleSubscribedFrame(
  session: Session,
  channel: string,
  subscribed: Subscribed,
  now: number,
): void {
  if (subscribed.error) return handleRefused(session, channel, subscribed.error, now);
  withMachine(session, channel, (machine, batch) => {
    handleSubscribed(machine, subscribed, now, batch);
  });
}

function handleRefused(session: Session, channel: string, error: WireError, now: number): void {
  if (session.leaving.has(channel)) return;
  const failure = refusal(error);
  if (!failure.retryable) endSubscription(session, channel, failure);
  else session.subscriptions.get(channel)?.machine.want(now + retryAfter(error));
}

function handlePush(session: Session, push: Push, now: number): void {
  const { publication, subscribed, gap, head, ephemeral, receipt, presence } = push;
  if (publication) {
    withMachine(session, publication.channel, (machine, batch) => {
      handlePublication(machine, new Publication(publication), batch);
    });
  } else if (subscribed) {
    handleSubscribedFrame(session, subscribed.channel, subscribed, now);
  } else if (gap) {
    withMachine(session, gap.channel, (machine) => {
      machine.handleGap({ epoch: gap.epoch, offset: exact(gap.uptoOffset) });
    });
  } else if (head) {
    withMachine(session, head.channel, (machine, batch) => {
      machine.handleHead({ epoch: head.epoch, offset: exact(head.offset) });
      showHead(machine, batch);
    });
  } else if (ephemeral) {
    passOn(session, ephemeral.channel, new Ephemeral(ephemeral));
  } else if (receipt) {
    const delivered = exact(receipt.deliveredOffset);
    const read = exact(receipt.readOffset);
    passOn(session, receipt.channel, { type: "receipt", user: receipt.user, delivered, read });
  } else if (presence?.member) {
    passOn(session, presence.channel, { type: "presence", ...presentOf(presence.member) });
  } else if (push.presenceGap) {
    passOn(session, push.presenceGap.channel, { type: "presenceGap" });
  } else if (push.goAway) {
    session.notices.push({ goAway: push.goAway });
  } else if (push.inboxTouched) {
    session.onInboxTouched();
  } else if (push.unsubscribed) {
    const { channel, error } = push.unsubscribed;
    if (error) handleRefused(session, channel, error, now);
    else endSubscription(session, channel, new SternaError("NOT_SUBSCRIBED", ENDED_BY_SERVER));
  }
}

function endSubscription(session: Session, channel: string, error: SternaError): void {
  const entry = session.subscriptions.get(channel);
  if (!entry || session.leaving.has(channel)) return;
  session.subscriptions.delete(channel);
  entry.mailbox.put([{ type: "error", error }]);
  entry.mailbox.end();
}

/**
 * Runs the channel's machine and puts what it delivers into the mailbox. A channel that is being left, or
 * never was subscribed, has none.
 */
function withMachine(
  session: Session,
  channel: string,
  run: (machine: Machine, batch: Batch) => void,
): void {
  const entry = session.subscriptions.get(channel);
  if (!entry || session.leaving.has(channel)) return;
  const batch: Batch = { room: entry.mailbox.room(), events: [] };
  run(entry.machine, batch);
  if (batch.events.length > 0) entry.mailbox.put(batch.events);
}

function passOn(session: Session, channel: string, event: SubscriptionEvent): void {
  session.subscriptions.get(channel)?.mailbox.put([event]);
}

/**
 * Whether the late answer to a question tells more than what was asked and heard since. What was delivered
 * always does; a refusal only while nothing newer was answered, and one that may be tried again only while
 * nothing newer is on its way.
 */
function mattersLate(machine: Machine, reply: Reply): boolean {
  const error = reply.error ?? reply.subscribed?.error;
  if (!error) return true;
  return machine.isUnanswered && !(refusal(error).retryable && machine.phase === "asking");
}

function retryAfter({ retryAfterMs }: WireError): number {
  return retryAfterMs
    ? Math.min(retryAfterMs, LONGEST_RETRY)
    : DEFAULT_RETRY * (0.5 + Math.random());
}

const ENDED_BY_SERVER = "the server ended the subscription";
const DEFAULT_RETRY = 500;
const LONGEST_RETRY = 60_000;
