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
  readonly hub: Hub;
  /** Clients that the worker has made. */
  readonly made: Client[] = [];
  readonly #locks = new FakeLocks();
  readonly #tabs: FakeTab[] = [];

  /** `options`: of the worker's clients, beside those of the tabs. */
  constructor(options: ClientOptions) {
    this.hub = new Hub(this.#locks as unknown as Locks, ({ address, options: shared }, token) => {
      const client = new Client(address, { ...(shared as SharedOptions), ...options, token });
      this.made.push(client);
      return client;
    });
  }

  open(options: ClientOptions & { address?: string; subject?: string } = {}): FakeTab {
    const { address = "sterna://edge", subject = "alice", ...own } = options;
    let isFrozen = false;
    const kept: (() => void)[] = [];
    const ports: MessagePort[] = [];
    let free = () => {};
    const dead = new Promise<void>((resolve) => {
      free = resolve;
    });
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
    const locks = {
      request: (name: string, ...rest: unknown[]) => {
        const run = rest.at(-1) as () => unknown;
        return this.#locks.request(name, () => Promise.race([run(), dead]));
      },
    };
    const client = connectThrough(open, locks as unknown as Locks, address, subject, own);
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
