// Where a publication belongs: delivered when it follows the own position, dropped when it does not lie
// above it, kept, bounded, while what is between is fetched. Pure.
import type { Publication } from "../../events.js";
import { passBy } from "./activity.js";
import { type Batch, higher, isAbove, isEarliest, type Machine } from "./machine.js";

/** Where a publication lies as seen from the own position. */
export type Place = "next" | "duplicate" | "hole" | "noRoom";

/** A publication was pushed. */
export function handlePublication(machine: Machine, publication: Publication, batch: Batch): void {
  if (machine.phase === "live") takeLive(machine, publication, batch);
  else if (machine.phase !== "stalled") keepWaiting(machine, publication);
}

function takeLive(machine: Machine, publication: Publication, batch: Batch): void {
  machine.seen = higher(machine.seen, publication.position);
  switch (placePush(machine, publication, batch.room)) {
    case "noRoom":
      machine.stall();
      break;
    case "next":
      deliver(machine, publication, batch);
      takeWaiting(machine, batch);
      break;
    case "hole":
      if (machine.activity === "background") {
        passBy(machine, publication.position, batch);
      } else {
        keepWaiting(machine, publication);
        machine.startRepair();
      }
      break;
  }
}

/**
 * As {@link place}, for a push: it is of the newest epoch, and one of an older epoch may belong to a
 * history that is gone.
 */
function placePush(machine: Machine, publication: Publication, room: number): Place {
  const { epoch, offset } = publication.position;
  if (machine.position && isEarliest(machine.position) && offset === 1) {
    machine.position = { epoch, offset: 0 };
  }
  if (machine.position && epoch < machine.position.epoch) {
    machine.counts.duplicatesDropped++;
    return "duplicate";
  }
  return place(machine, publication, room);
}

/**
 * By the offset, which counts on through the epochs: a page holds publications with the epochs under which
 * they were stored.
 */
export function place(machine: Machine, publication: Publication, room: number): Place {
  const own = machine.position;
  const { epoch, offset } = publication.position;
  // Of an epoch that only the next answer can explain.
  if (!own || epoch > own.epoch) return "hole";
  if (offset <= own.offset) {
    machine.counts.duplicatesDropped++;
    return "duplicate";
  }
  if (offset !== own.offset + 1) return "hole";
  return room > 0 ? "next" : "noRoom";
}

/** Hands a publication on that follows the own position. */
export function deliver(machine: Machine, publication: Publication, batch: Batch): void {
  const { epoch, offset } = publication.position;
  machine.position = { epoch: machine.position?.epoch ?? epoch, offset };
  if (machine.repair === "hole") machine.late++;
  if (publication.kind === "epoch") return;
  batch.room--;
  machine.counts.publicationsReceived++;
  batch.events.push(publication);
}

function keepWaiting(machine: Machine, publication: Publication): void {
  const own = machine.position;
  if (own && !isAbove(publication.position, own)) {
    machine.counts.duplicatesDropped++;
    return;
  }
  machine.seen = higher(machine.seen, publication.position);
  machine.waiting.add(publication);
}

/** Delivers what was kept, as far as it follows by now. */
export function takeWaiting(machine: Machine, batch: Batch): void {
  for (const publication of machine.waiting.inOrder()) {
    const found = placePush(machine, publication, batch.room);
    if (found === "hole") return;
    if (found === "noRoom") {
      machine.stall();
      return;
    }
    machine.waiting.delete(publication.position.offset);
    if (found === "next") deliver(machine, publication, batch);
  }
}
