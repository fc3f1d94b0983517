// A tab as the worker knows it: its ports, and what it wants.
import type { SternaError } from "../errors.js";
import { toWire } from "./messages.js";
import type { Outlet } from "./outlet.js";
import { Turns } from "./sends.js";

export class Tab {
  /** Oldest first; the newest is the one to say things to that are no matter of a link. */
  readonly outlets = new Set<Outlet>();
  readonly turns = new Turns();
  /** The application of this tab wants a connection. */
  isWanting = false;
  /** The page is in the background, and does without a connection after so many milliseconds. */
  awayAfter: number | undefined;
  /** What its next Hello is refused with. */
  failure: SternaError | undefined;

  get newest(): Outlet | undefined {
    return [...this.outlets].at(-1);
  }

  /** Takes out the ports that are of no use any more: their links are over, and there is a newer one. */
  takeUseless(): Outlet[] {
    const useless = [...this.outlets].filter((each) => each.isOver && each !== this.newest);
    for (const outlet of useless) this.outlets.delete(outlet);
    return useless;
  }

  /** The connection is gone, and another one is on its way. */
  onLost(reason: string): void {
    for (const outlet of this.outlets) if (outlet.isWelcomed) outlet.end({ reason });
  }

  /** There will be no other connection: `error` says why. */
  onFailed(error: SternaError): void {
    this.isWanting = false;
    for (const outlet of this.outlets) {
      const { hello } = outlet;
      outlet.hello = undefined;
      if (hello) {
        outlet.reply(hello.id, { error: toWire(error) });
      } else if (error.closeCode !== undefined) {
        outlet.end({ code: error.closeCode, reason: error.message.replace(NOT_CONNECTED, "") });
      } else if (outlet.isWelcomed && !outlet.isOver) {
        // It asks why, by its next Hello.
        this.failure = error;
        outlet.end({ reason: error.message });
      }
    }
  }
}

/** What the tab says again of the same close code. */
const NOT_CONNECTED = /^not connected \(close code \d+\): /;
