// An origin without a browser: the hub of a worker, tabs that have it by ports, and locks that end with them.
import { Client, type ClientOptions } from "../../src/index.js";
import { Hub } from "../../src/shared/hub.js";
import type { Locks } from "../../src/shared/locks.js";
import type { SharedOptions } from "../../src/shared/messages.js";
import { connectThrough } from "../../src/worker.js";

/** Exclusive and shared locks, given in the order of asking. */
class FakeLocks {
  readonly #held: { name: string; isShared: boolean }[] = [];
  #waiting: (() => boolean)[] = [];

  query = async () => ({
    held: this.#held.map(({ name, isShared }) => ({
      name,
      mode: isShared ? "shared" : "exclusive",
    })),
  });

  request = (name: string, ...rest: unknown[]): Promise<unknown> => {
    const run = rest.at(-1) as () => unknown;
    const isShared = (rest[0] as LockOptions).mode === "shared";
    return new Promise((resolve, reject) => {
      const start = () => {
        if (this.#held.some((other) => other.name === name && !(isShared && other.isShared))) {
          return false;
        }
        const lock = { name, isShared };
        this.#held.push(lock);
        const done = () => {
          this.#held.splice(this.#held.indexOf(lock), 1);
          this.#look();
        };
        Promise.resolve().then(run).finally(done).then(resolve, reject);
        return true;
      };
      this.#waiting.push(start);
      this.#look();
    });
  };

  #look(): void {
    this.#waiting = this.#waiting.filter((start) => !start());
  }
}

/** One tab, as its browser sees it. */
export interface FakeTab {
  readonly client: Client;
  readonly isFrozen: boolean;
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
    const ports: MessagePort[] = [];
    const { dead, free } = mortal();
    const own: Client[] = [];
    let isAlive = true;
    this.#end = () => {
      isAlive = false;
      // What was said is heard; nothing else is, nor said.
      for (const port of ports) port.onmessage = null;
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
      const real = port as MessagePort;
      ports.push(real);
      const mortal = {
        onmessage: null as ((event: MessageEvent) => void) | null,
        postMessage: (message: unknown) => isAlive && real.postMessage(message),
        close: () => real.close(),
      };
      real.onmessage = (event) => mortal.onmessage?.(event);
      accept(mortal);
    };
    return hub;
  }

  /** Locks of somebody who dies. */
  #locksUntil(dead: Promise<void>, isAlive: () => boolean): Locks {
    const request = (name: string, ...rest: unknown[]) => {
      const run = rest.at(-1) as () => unknown;
      const hear = () => isAlive() && Promise.race([run(), dead]);
      return this.#locks.request(name, rest[0], hear);
    };
    return { request, query: this.#locks.query } as unknown as Locks;
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
    const held = this.#locksUntil(dead, () => true);
    const locks = {
      request: (name: string, ...rest: unknown[]) => {
        const run = rest.at(-1) as () => unknown;
        // Whoever is frozen hears of no lock, either.
        const hear = () =>
          isFrozen ? new Promise((resolve) => kept.push(() => resolve(run()))) : run();
        return held.request(name, rest[0] as LockOptions, hear);
      },
      query: held.query,
    } as unknown as Locks;
    const client = connectThrough(open, locks, address, subject, own);
    const tab = {
      client,
      get isFrozen() {
        return isFrozen;
      },
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
