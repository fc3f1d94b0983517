// An origin without a browser: the hub of a worker, tabs that have it by ports, and locks that end with them.
import { Client, type ClientOptions } from "../../src/index.js";
import { Hub, type Locks } from "../../src/shared/hub.js";
import type { SharedOptions } from "../../src/shared/messages.js";
import { connectThrough } from "../../src/worker.js";

/** Exclusive and shared locks, given in the order of asking. */
class FakeLocks {
  readonly #queues = new Map<string, Promise<void>>();

  request = (name: string, ...rest: unknown[]): Promise<unknown> => {
    const run = rest.at(-1) as () => unknown;
    const before = this.#queues.get(name) ?? Promise.resolve();
    const held = before.then(() => run());
    this.#queues.set(
      name,
      held.then(
        () => {},
        () => {},
      ),
    );
    return held;
  };
}

/** One tab, as its browser sees it. */
export interface FakeTab {
  readonly client: Client;
  /** As when it is closed or its process dies: nothing is said, its ports fall silent, its locks are free. */
  kill(): void;
  /** As a tab that is frozen: what is said to it waits. */
  freeze(): void;
  thaw(): void;
}

export class Origin {
  hub: Hub;
  /** Clients that the worker has made. */
  readonly made: Client[] = [];
  readonly #locks = new FakeLocks();
  readonly #tabs: FakeTab[] = [];
  readonly #options: ClientOptions;
  /** Ends the present worker. */
  #end = () => {};

  /** `options`: of the worker's clients, beside those of the tabs. */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.hub = this.#start();
  }

  /** As when the process of the worker dies: its ports fall silent, its locks are free, another one starts. */
  crash(): void {
    this.#end();
    this.hub = this.#start();
  }

  #start(): Hub {
    const ports: { close(): void }[] = [];
    const { dead, free } = mortal();
    const own: Client[] = [];
    let isAlive = true;
    this.#end = () => {
      isAlive = false;
      for (const port of ports) port.close();
      // What has not left by now never does.
      for (const client of own) client.disconnect();
      free();
    };
    const locks = this.#locksUntil(dead, () => isAlive);
    const hub = new Hub(locks, ({ address, options: shared }, token) => {
      const client = new Client(address, {
        ...(shared as SharedOptions),
        ...this.#options,
        token,
      });
      this.made.push(client);
      own.push(client);
      return client;
    });
    const accept = hub.accept.bind(hub);
    hub.accept = (port) => {
      ports.push(port);
      accept(port);
    };
    return hub;
  }

  /** Locks of somebody who dies. */
  #locksUntil(dead: Promise<void>, isAlive: () => boolean): Locks {
    const request = (name: string, ...rest: unknown[]) => {
      const run = rest.at(-1) as () => unknown;
      return this.#locks.request(name, () => isAlive() && Promise.race([run(), dead]));
    };
    return { request } as unknown as Locks;
  }

  open(options: ClientOptions & { address?: string; subject?: string } = {}): FakeTab {
    const { address = "sterna://edge", subject = "alice", ...own } = options;
    let isFrozen = false;
    const kept: (() => void)[] = [];
    const ports: MessagePort[] = [];
    const { dead, free } = mortal();
    const open = () => {
      const { port1, port2 } = new MessageChannel();
      ports.push(port1);
      this.hub.accept(port2);
      const port = {
        onmessage: null as ((event: MessageEvent) => void) | null,
        postMessage: (message: unknown) => port1.postMessage(message),
        close: () => port1.close(),
      };
      port1.onmessage = (event) => {
        const hear = () => port.onmessage?.(event);
        if (isFrozen) kept.push(hear);
        else hear();
      };
      return port;
    };
    const locks = this.#locksUntil(dead, () => true);
    const client = connectThrough(open, locks, address, subject, own);
    const tab = {
      client,
      kill: () => {
        for (const port of ports) port.close();
        free();
      },
      freeze: () => {
        isFrozen = true;
      },
      thaw: () => {
        isFrozen = false;
        for (const hear of kept.splice(0)) hear();
      },
    };
    this.#tabs.push(tab);
    return tab;
  }

  async end(): Promise<void> {
    await Promise.all(this.#tabs.map(({ client }) => client.dispose()));
    for (const tab of this.#tabs) tab.kill();
    await Promise.all(this.made.map((client) => client.dispose()));
  }
}

/** What ends when it is told to. */
function mortal(): { dead: Promise<void>; free: () => void } {
  let free = () => {};
  const dead = new Promise<void>((resolve) => {
    free = resolve;
  });
  return { dead, free };
}
