// What the session wants sent now, and when it wants to be asked again. The driver calls it in every turn.
// Pure, but for chance.
import type { Init } from "../codec/message.js";
import { SternaError } from "../errors.js";
import type { Outgoing } from "../transport/link.js";
import { ACTIVITY, type Publish } from "../wire/schema.js";
import type { Verb } from "./calls.js";
import type { Asked } from "./in-flight.js";
import { networkNumber } from "./network.js";
import type { Entry, Session } from "./session.js";
import { activityDeadline, onActivitySaid, pollActivity } from "./subscription/activity.js";

/** The commands to send now on the present connection. */
export function pollCommands(session: Session, now: number): Outgoing[] {
  if (!session.welcome) return [];
  const out: Outgoing[] = [];
  pollPublications(session, now, out);
  pollLeaving(session, now, out);
  pollQuestions(session, now, out);
  pollActivities(session, now, out);
  for (;;) {
    const call = session.calls.pollSend();
    if (!call) break;
    const route = call.verb.history ? "bulk" : "control";
    out.push(command(session, { verb: "call", serial: call.serial }, call.verb, now, route));
  }
  for (const ephemeral of session.ephemerals.values()) {
    out.push({ route: "datagram", command: { ephemeral } });
  }
  session.ephemerals.clear();
  return out;
}

export function ping(session: Session, now: number, clientTimeMs: number): Outgoing {
  const network = networkNumber(session.network);
  return command(session, { verb: "ping", sent: now }, { ping: { clientTimeMs, network } }, now);
}

export function refresh(session: Session, now: number, accessToken: string): Outgoing {
  return command(session, { verb: "refresh" }, { refresh: { accessToken } }, now);
}

/**
 * When something may have to be given up by time alone, or to be sent on a connection that takes commands
 * (`maySend`). `Infinity`: never.
 */
export function deadline(session: Session, maySend: boolean): number {
  const { calls, inFlight, leaving, outbox, options, subscriptions } = session;
  let deadline = calls.deadline();
  if (!session.welcome || !maySend) return deadline;
  deadline = Math.min(deadline, inFlight.deadline(options.commandTimeout), outbox.deadline());
  for (const { due } of leaving.values()) deadline = Math.min(deadline, due);
  // An answer, or its absence, has to free a place before another question can be asked.
  const mayAsk = inFlight.count("subscribe") < IN_FLIGHT_SUBSCRIBES;
  const maySay = inFlight.count("setActivity") < IN_FLIGHT_ACTIVITIES;
  for (const [channel, { machine, mailbox }] of subscriptions) {
    deadline = Math.min(deadline, machine.answerDeadline());
    if (maySay) deadline = Math.min(deadline, activityDeadline(machine));
    // Without room it is the reader that wakes the driver, not time.
    const isWaiting = mayAsk && machine.phase === "wanted" && !leaving.has(channel);
    if (isWaiting && mailbox.room() > 0) deadline = Math.min(deadline, machine.at);
  }
  return deadline;
}

/** Gives up what has waited too long; connected or not. */
export function handleTimeout(session: Session, now: number): void {
  session.calls.handleTimeout(now);
  for (const asked of session.inFlight.expire(now, session.options.commandTimeout)) {
    if (asked.verb === "unsubscribe") {
      session.leaving.get(asked.channel)?.onUnanswered(now, Math.random());
    } else if (asked.verb === "setActivity") {
      const entry = session.subscriptions.get(asked.channel);
      if (entry?.serial === asked.serial) onActivitySaid(entry.machine);
    } else if (asked.verb === "refresh") {
      session.notices.push({ refreshFailed: new SternaError("TIMEOUT", "no answer in time") });
    }
    // The others have clocks of their own: the outbox, the machines below, the calls above.
  }
  for (const { machine } of session.subscriptions.values()) {
    machine.handleTimeout(now, Math.random());
  }
}

function command(
  session: Session,
  asked: Asked,
  verb: Verb,
  now: number,
  route: Outgoing["route"] = "control",
): Outgoing {
  return { route, command: { ...verb, id: session.inFlight.insert(asked, now) } };
}

function pollPublications(session: Session, now: number, out: Outgoing[]): void {
  const { outbox } = session;
  const send = (publish: Init<Publish>) => {
    const asked = { verb: "publish", seq: Number(publish.clientSeq) } as const;
    out.push(command(session, asked, { publish }, now));
  };
  outbox.pollResend(now, Math.random()).forEach(send);
  const budget = Math.max(IN_FLIGHT_PUBLICATIONS - outbox.inFlight, 0);
  outbox.pollSend(now, Math.random(), budget).forEach(send);
}

function pollLeaving(session: Session, now: number, out: Outgoing[]): void {
  for (const [channel, leaving] of session.leaving) {
    if (leaving.due > now) continue;
    const asked = { verb: "unsubscribe", channel } as const;
    const outgoing = command(session, asked, { unsubscribe: { channel } }, now);
    leaving.onSent(outgoing.command.id as number);
    out.push(outgoing);
  }
}

/**
 * Who has waited longest asks first, so that channels that nobody answers for do not keep the others from
 * asking.
 */
function pollQuestions(session: Session, now: number, out: Outgoing[]): void {
  let free = IN_FLIGHT_SUBSCRIBES - session.inFlight.count("subscribe");
  if (free <= 0) return;
  const waiting: Entry[] = [];
  for (const [channel, entry] of session.subscriptions) {
    if (entry.machine.waitsToAsk && !session.leaving.has(channel)) waiting.push(entry);
  }
  const since = ({ machine }: Entry) => (machine.phase === "wanted" ? machine.at : 0);
  waiting.sort((a, b) => since(a) - since(b));
  for (const { machine, mailbox, serial } of waiting) {
    if (free <= 0) return;
    const subscribe = machine.pollAsk(now, mailbox.room());
    if (!subscribe) continue;
    free--;
    const asked = { verb: "subscribe", channel: machine.channel, serial } as const;
    out.push(command(session, asked, { subscribe }, now));
  }
}

/** What nodes have to be told of classes; at most one word of a channel is on its way. */
function pollActivities(session: Session, now: number, out: Outgoing[]): void {
  let free = IN_FLIGHT_ACTIVITIES - session.inFlight.count("setActivity");
  for (const { machine, serial } of session.subscriptions.values()) {
    if (free <= 0) return;
    const wanted = pollActivity(machine, now);
    if (!wanted) continue;
    free--;
    const { channel } = machine;
    const setActivity = { channel, activity: ACTIVITY.indexOf(wanted) };
    out.push(command(session, { verb: "setActivity", channel, serial }, { setActivity }, now));
  }
}

/** With the calls, these stay below the 64 commands that a server takes at a time. */
const IN_FLIGHT_PUBLICATIONS = 32;
const IN_FLIGHT_SUBSCRIBES = 8;
const IN_FLIGHT_ACTIVITIES = 4;
