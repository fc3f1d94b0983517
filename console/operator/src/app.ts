// What all screens share: the key, the cluster as it is now and was, and whether the node answers.
import { Api, type Failure } from "./api.js";
import type { Cluster } from "./model.js";
import { Poll } from "./poll.js";
import { Recorder } from "./samples.js";

/** How often the cluster is asked for, in milliseconds: its nodes say how they fare twice a second. */
const CLUSTER_EVERY = 2000;

/** What a node says of its page; `sterna dev` gives a key. */
export interface NodePage {
  readonly key?: string;
  readonly tryIt?: string;
}

/** A screen of the console. */
export interface Screen {
  readonly title: string;
  readonly element: HTMLElement;
  /** Where `/` leads. */
  readonly search?: HTMLElement;
  end(): void;
}

/** Signals: `cluster` has been heard, `line` has changed, `refused`: the key is void. */
export class App extends EventTarget {
  readonly api: Api;
  readonly recorder = new Recorder();
  cluster: Cluster | undefined;
  /** Why the cluster is not known. */
  failure: Failure | undefined;
  /** Since when nobody answers, in Unix milliseconds. */
  lostAt: number | undefined;
  readonly #polls = new Set<{ now(): void }>();
  readonly #cluster: Poll<Cluster>;

  constructor(
    key: string,
    readonly page: NodePage,
  ) {
    super();
    this.api = new Api(key, {
      answered: () => this.#setLost(undefined),
      lost: () => this.#setLost(this.lostAt ?? Date.now()),
      refused: (failure) => this.dispatchEvent(new CustomEvent("refused", { detail: failure })),
    });
    this.#cluster = this.poll(
      (signal) => this.api.get<Cluster>("operate/cluster", signal),
      CLUSTER_EVERY,
      (cluster) => this.#hear(cluster),
      (failure) => this.#fail(failure),
    );
  }

  /** What the key opens, once the node has said it; a node that has no roles answers operators alone. */
  get role(): string | undefined {
    return this.cluster && (this.cluster.role ?? "operator");
  }

  /** Whether to show what changes something. The node decides in any case. */
  get mayChange(): boolean {
    return this.role === "operator";
  }

  /** Asks until it is stopped, and at once when somebody does not want to wait. */
  poll<T>(
    ask: (signal: AbortSignal) => Promise<T>,
    every: number,
    hear: (answer: T) => void,
    fail: (failure: Failure) => void,
  ): Poll<T> {
    const poll = new Poll(ask, every, hear, fail);
    this.#polls.add(poll);
    const stop = poll.stop.bind(poll);
    poll.stop = () => {
      this.#polls.delete(poll);
      stop();
    };
    return poll;
  }

  /** Asks everything again now. */
  retry(): void {
    for (const poll of this.#polls) poll.now();
  }

  /** Calls with the cluster as it is known and whenever it has been heard; gives what ends that. */
  onCluster(hear: (cluster: Cluster) => void): () => void {
    const listener = () => this.cluster && hear(this.cluster);
    listener();
    this.addEventListener("cluster", listener);
    return () => this.removeEventListener("cluster", listener);
  }

  end(): void {
    this.#cluster.stop();
  }

  #hear(cluster: Cluster): void {
    this.cluster = cluster;
    this.failure = undefined;
    this.recorder.add(cluster);
    this.dispatchEvent(new Event("cluster"));
  }

  #fail(failure: Failure): void {
    this.failure = failure;
    this.dispatchEvent(new Event("line"));
  }

  #setLost(at: number | undefined): void {
    if (at === this.lostAt) return;
    const isBack = at === undefined;
    this.lostAt = at;
    this.dispatchEvent(new Event("line"));
    // The others need not wait for their turn.
    if (isBack) queueMicrotask(() => this.retry());
  }
}
