// What an answer to a Subscribe changes: the epoch, gaps, the page it carries, and whether the channel is
// live from here on. Pure.
import { exact } from "../../codec/bytes.js";
import { Publication } from "../../events.js";
import type { Position } from "../../options.js";
import type { Subscribed } from "../../wire/schema.js";
import { lookBehind, showHead } from "./activity.js";
import { type Batch, higher, isEarliest, type Machine } from "./machine.js";
import { deliver, type Place, place, takeWaiting } from "./pushes.js";

/** The answer to a question, as a Reply or, for the questions of a Hello, as a Push. */
export function handleSubscribed(
  machine: Machine,
  reply: Subscribed,
  now: number,
  batch: Batch,
): void {
  machine.unanswered.reset();
  const theirs = positionOf(reply);
  if (isOutdated(machine, reply, theirs)) {
    if (machine.isUnanswered) machine.want(now + ODD_REPLY_PAUSE);
    return;
  }
  const askedFrom = machine.position;
  const hadPosition = askedFrom !== undefined && !isEarliest(askedFrom);
  adoptEpoch(machine, reply, theirs, batch);
  const last = takePage(machine, reply, batch);
  if (last === "noRoom") return machine.stall();
  // A page with a hole contradicts itself.
  if (last === "hole") return machine.want(now + ODD_REPLY_PAUSE);
  crossGap(machine, reply, theirs.offset, batch);
  if (machine.position && machine.position.offset < theirs.offset) {
    // The server says where we stand; what it has not shown of that is a gap.
    stepOver(machine, theirs.offset, batch);
  }
  if (!reply.live || machine.activity === "background") {
    machine.seen = higher(machine.seen, { epoch: theirs.epoch, offset: exact(reply.headOffset) });
  }
  if (reply.live) {
    goLive(machine, hadPosition, batch);
    showHead(machine, batch);
  } else {
    machine.want();
  }
  const isStuck =
    machine.position?.offset === askedFrom?.offset && machine.position?.epoch === askedFrom?.epoch;
  if (isStuck && machine.phase === "wanted" && machine.at === 0)
    machine.want(now + ODD_REPLY_PAUSE);
}

function positionOf({ position }: Subscribed): Position {
  return { epoch: position?.epoch ?? 0, offset: exact(position?.offset ?? 0) };
}

/** Delivers what the page holds, and says where its last publication lay. */
function takePage(machine: Machine, reply: Subscribed, batch: Batch): Place {
  let last: Place = "next";
  for (const wire of reply.publications) {
    const publication = new Publication(wire);
    crossGap(machine, reply, publication.position.offset - 1, batch);
    last = place(machine, publication, batch.room);
    if (last === "next") deliver(machine, publication, batch);
    else if (last !== "duplicate") break;
  }
  return last;
}

/** True for a late answer to an earlier question that a newer epoch has overtaken. */
function isOutdated({ position: own }: Machine, reply: Subscribed, theirs: Position): boolean {
  if (!own) return false;
  const change = reply.epochChange;
  if (change) return change.oldEpoch !== own.epoch && theirs.epoch !== own.epoch;
  return theirs.epoch < own.epoch && own.offset > 0;
}

/**
 * Takes over the epoch of the reply. What we have stays valid across epochs, except for what the reply says
 * never existed.
 */
function adoptEpoch(machine: Machine, reply: Subscribed, theirs: Position, batch: Batch): void {
  const own = machine.position;
  if (!own) {
    const first = reply.publications[0];
    const before = first ? Math.max(exact(first.offset) - 1, 0) : theirs.offset;
    machine.position = { epoch: theirs.epoch, offset: Math.min(before, theirs.offset) };
    return;
  }
  const change = reply.epochChange;
  // A change that we know already comes with a late answer.
  if (!change || change.oldEpoch !== own.epoch) {
    machine.position = { epoch: theirs.epoch, offset: own.offset };
    return;
  }
  const keepUpto = exact(change.keepUpto);
  machine.position = { epoch: theirs.epoch, offset: Math.min(own.offset, keepUpto) };
  if (theirs.epoch <= own.epoch) machine.forgetWaiting();
  if (keepUpto < own.offset) machine.isWhole = false;
  batch.events.push({ type: "epoch", old: own.epoch, new: theirs.epoch, keepUpto });
}

/**
 * Steps over publications that the server says will not come, when that is all that stands between the own
 * position and `next`.
 */
function crossGap(machine: Machine, { gap }: Subscribed, next: number, batch: Batch): void {
  const own = machine.position;
  if (!gap || !own) return;
  const upto = exact(gap.uptoOffset);
  const isReached = exact(gap.afterOffset) <= own.offset && own.offset < upto;
  if (isReached && upto <= next) stepOver(machine, upto, batch);
}

function stepOver(machine: Machine, upto: number, batch: Batch): void {
  const own = machine.position;
  if (!own) return;
  batch.events.push({ type: "gap", epoch: own.epoch, after: own.offset, upto });
  machine.position = { epoch: own.epoch, offset: upto };
  machine.isWhole = false;
}

function goLive(machine: Machine, hadPosition: boolean, batch: Batch): void {
  const { position, repair, isWhole, late } = machine;
  if (!position) return;
  machine.phase = "live";
  machine.repair = "none";
  if (repair === "attach") {
    const recovered = hadPosition && isWhole;
    const wasRecovering = hadPosition;
    batch.events.push({ type: "state", state: "subscribed", position, wasRecovering, recovered });
  } else if (repair === "hole") {
    machine.counts.gapsRecovered++;
    batch.events.push({ type: "recovered", publications: late });
  }
  takeWaiting(machine, batch);
  lookBehind(machine);
}

/** After an answer that contradicts itself, so that the next question is not part of a hot loop. */
const ODD_REPLY_PAUSE = 1000;
