// How closely the channel is followed. In the background the own position stays where it is, whatever is
// heard of: what lies above it is asked for on coming forward (I5, I13). Pure.
import type { Activity, Position } from "../../options.js";
import { NEVER } from "../never.js";
import { type Batch, higher, isAbove, type Machine } from "./machine.js";

export function setActivity(machine: Machine, activity: Activity): void {
  const wasBackground = machine.activity === "background";
  machine.activity = activity;
  if (wasBackground && machine.phase === "live" && isShort(machine)) {
    // Not a loss: it was not wanted.
    machine.repair = "pause";
    lookBehind(machine);
  }
  if (activity === "background" && machine.repair === "hole") machine.repair = "pause";
}

/** The class that the node has to be told now, if it has to be. A question would say it, too. */
export function pollActivity(machine: Machine, now: number): Activity | undefined {
  if (activityDeadline(machine) > now) return undefined;
  machine.saying = "word";
  machine.toldBefore = machine.told;
  machine.told = machine.activity;
  return machine.told;
}

/** When `pollActivity` has something. */
export function activityDeadline({ activity, phase, saying, sayNotBefore, told }: Machine): number {
  const isWanted = phase === "live" && saying === "nothing" && told !== activity;
  return isWanted ? sayNotBefore : NEVER;
}

/** Answered, refused by a node that knows no classes, or given up: what is wanted since is said next. */
export function onActivitySaid(machine: Machine): void {
  machine.saying = "nothing";
  machine.sayNotBefore = 0;
}

/** The node will take the word later: whatever is wanted by then. */
export function onActivityRefused(machine: Machine, retryAt: number): void {
  if (machine.saying === "word") machine.told = machine.toldBefore;
  machine.saying = "nothing";
  machine.sayNotBefore = retryAt;
}

/** Asks for what is heard of and missing, unless it is not wanted. */
export function lookBehind(machine: Machine): void {
  const isWanted = machine.phase === "live" && machine.activity !== "background";
  if (isWanted && isShort(machine)) machine.startRepair();
}

/** In the background: lets the application know where the channel ends, when that is news. */
export function showHead(machine: Machine, batch: Batch): void {
  const isNews = isShort(machine) && isAbove(machine.seen, machine.shown);
  if (machine.activity !== "background" || !isNews) return;
  machine.shown = machine.seen;
  batch.events.push({ type: "head", position: machine.seen });
}

/** A publication that does not follow, in the background: it is known to be there. */
export function passBy(machine: Machine, heard: Position, batch: Batch): void {
  machine.seen = higher(machine.seen, heard);
  showHead(machine, batch);
}

function isShort({ position, seen }: Machine): boolean {
  return position !== undefined && isAbove(seen, position);
}
