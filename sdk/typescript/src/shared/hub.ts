// All that the worker holds: groups by address and subject, and who lives. It hears of the death of a tab by
// the lock that the tab holds: the browser gives it to the worker in the moment in which the tab is gone.
import { Client } from "../client.js";
import { SternaError } from "../errors.js";
import { newUuid, uuidText } from "../events.js";
import { broken, type LinkEnd } from "../transport/link.js";
import { CLOSE_OVERLOADED, CLOSE_PROTOCOL_ERROR } from "../wire/codes.js";
import type { Command } from "../wire/schema.js";
import { Group, type MakeClient } from "./group.js";
import { hold, type Locks } from "./locks.js";
import { type FromTab, type Join, keyOf, lockOf, orphanOf, VERSION } from "./messages.js";
import { Outlet, type Port } from "./outlet.js";
import type { Tab } from "./tab.js";

export class Hub {
  readonly #groups = new Map<string, Promise<Group>>();
  readonly #name = uuidText(newUuid(Date.now()));
  readonly #locks: Locks;
  /** Settled once the lock of this worker is held. */
  readonly #ready: Promise<void>;
  readonly #make: MakeClient;

  constructor(locks: Locks, make: MakeClient = makeClient) {
    this.#locks = locks;
    this.#make = make;
    // Held to its end, by which tabs hear of that: a worker dies with its process.
    this.#ready = hold(locks, lockOf(this.#name), "exclusive").held;
  }

  /** A tab has opened a port. */
  accept(port: Port): void {
    const outlet = new Outlet(port);
    let on: ((message: FromTab) => void) | undefined;
    port.onmessage = ({ data }: MessageEvent<FromTab>) => {
      try {
        if ("join" in data) {
          this.#join(outlet, data.join).then(
            (joined) => {
              on = joined;
            },
            (error) => outlet.end(endOf(error)),
          );
        } else {
          on?.(data);
        }
      } catch (error) {
        // Whatever it was, it is the end of this link and of no other.
        outlet.end(endOf(error));
      }
    };
  }

  async #join(outlet: Outlet, join: Join): Promise<((message: FromTab) => void) | undefined> {
    if (join.version !== VERSION) {
      const reason = `the worker speaks version ${VERSION} of its messages, this page ${join.version}`;
      outlet.end({ code: CLOSE_PROTOCOL_ERROR, reason });
      return undefined;
    }
    const key = keyOf(join);
    const making = this.#groups.get(key) ?? this.#makeGroup(join);
    this.#groups.set(key, making);
    const group = await making.catch((error) => {
      this.#groups.delete(key);
      throw error;
    });
    // Its last tab has gone in this moment.
    if (group.isOver) return this.#join(outlet, join);
    const isNew = !group.has(join.tab);
    const tab = group.tab(join.tab);
    if (!tab) {
      outlet.end({ code: CLOSE_OVERLOADED, reason: "too many tabs" });
      return undefined;
    }
    if (isNew) this.#mourn(key, group, join.tab);
    group.onOpen(tab, outlet);
    return (message) => handle(group, tab, outlet, message);
  }

  /** Begins a group, with the client id of the one that it goes on for. */
  async #makeGroup(join: Join): Promise<Group> {
    await this.#ready;
    const { held = [] } = await this.#locks.query();
    const orphan = orphanOf(held, keyOf(join));
    const clientId = join.options.clientId ?? orphan;
    const options = { ...join.options, ...(clientId && { clientId }) };
    return new Group(this.#name, { ...join, options }, this.#make);
  }

  /** Waits for the end of a tab. */
  #mourn(key: string, group: Group, tab: string): void {
    const gone = () => {
      group.onGone(tab);
      if (!group.isEmpty || group.isOver) return;
      this.#groups.delete(key);
      group.dispose();
    };
    this.#locks.request(lockOf(tab), { mode: "shared" }, gone).catch(gone);
  }
}

/** With options that cannot work there is no use in coming again. */
function endOf(error: unknown): LinkEnd {
  const isFinal = error instanceof SternaError && !error.retryable;
  return { ...broken(error), ...(isFinal && { code: CLOSE_PROTOCOL_ERROR }) };
}

function handle(group: Group, tab: Tab, outlet: Outlet, message: FromTab): void {
  if ("commands" in message) {
    for (const [at, command] of message.commands.entries()) {
      group.onCommand(tab, outlet, command as Command, message.numbers?.[at]);
    }
    outlet.say({ read: message.commands.length });
  } else if ("took" in message) {
    outlet.onTook(message.took);
  } else if ("answer" in message) {
    group.onAnswer(message.answer);
  } else if ("network" in message) {
    group.onNetwork(message.network, performance.now());
  } else if ("away" in message) {
    group.onAway(tab, message.away);
  } else if ("back" in message) {
    group.onAway(tab, undefined);
  } else if ("leave" in message) {
    group.onLeave(tab, outlet);
  }
}

const makeClient: MakeClient = ({ address, options }, token) => {
  const outbox = { publications: WORKER_PUBLICATIONS, bytes: WORKER_BYTES };
  return new Client(address, { ...options, token, outbox });
};

/** Publications of all tabs that await their answers; a further one is refused for the moment, as by a busy edge. */
export const WORKER_PUBLICATIONS = 1024;
/** As {@link WORKER_PUBLICATIONS}, in bytes of payload. */
export const WORKER_BYTES = 8 * 1024 * 1024;
