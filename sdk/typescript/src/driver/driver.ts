// What knows about time and connections. It keeps at most one active connection, makes others beside it
// (races, handovers, upgrades: see attempt.ts and connecting.ts), feeds what arrives to the session
// (reports.ts), does what time and the application ask (steps.ts), and sends what the session says. One per
// client, from its first `connect` to its `dispose`.

import type { SternaError } from "../errors.js";
import type { ClientState } from "../events.js";
import type { TokenProvider } from "../options.js";
import type { OutboxStore } from "../outbox-store.js";
import { Background } from "../session/background.js";
import { Backoff } from "../session/backoff.js";
import type { Liveness } from "../session/liveness.js";
import { NEVER } from "../session/never.js";
import { deadline, pollCommands } from "../session/polling.js";
import { Race } from "../session/race.js";
import type { Session } from "../session/session.js";
import { TokenKeeper } from "../session/token.js";
import type { Dial, Link, Outgoing, TransportName } from "../transport/link.js";
import type { Target } from "../transport/target.js";
import type { Attempt } from "./attempt.js";
import { startAt } from "./connecting.js";
import { OpenHellos } from "./hellos.js";
import { Saving } from "./saving.js";
import { goOffline, step } from "./steps.js";

/** What the client has made ready. */
export interface Setup {
  readonly session: Session;
  readonly target: Target;
  /** In order of preference. */
  readonly dials: ReadonlyMap<TransportName, Dial>;
  readonly token: string | TokenProvider;
  readonly store: OutboxStore | undefined;
  readonly onState: (state: ClientState) => void;
}

/** The connection that carries the session. */
export interface Active {
  readonly link: Link;
  readonly liveness: Liveness;
  readonly since: number;
}

export class Driver {
  readonly session: Session;
  readonly race: Race;
  readonly backoff = new Backoff();
  readonly hellos = new OpenHellos();
  readonly background = new Background();
  readonly tokens: TokenKeeper;
  readonly saving: Saving;
  /** Aborted when the token that is asked for is of no use any more. */
  asking: AbortController | undefined;
  active: Active | undefined;
  attempt: Attempt | undefined;
  retryAt = NEVER;
  /** Where the last node that left has sent us. */
  successor: Target | undefined;
  /** We are to move, then. */
  handover: { readonly at: number; readonly target: Target } | undefined;
  /** Commands that wait for room in the connection. */
  unsent: Outgoing[] = [];
  /** A connection is wished for. */
  isOnline = false;
  lastError: SternaError | undefined;
  state: ClientState = { name: "disconnected" };
  #isWoken = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly setup: Setup) {
    const { session, dials, token, store } = setup;
    this.session = session;
    this.race = new Race([...dials.keys()]);
    this.tokens = new TokenKeeper(typeof token === "string" ? token : undefined);
    this.saving = new Saving(store, session.outbox, () => this.wake());
  }

  /** Something has changed: acts on it before anything else is waited for. */
  wake(): void {
    if (this.#isWoken || this.state.name === "closed") return;
    this.#isWoken = true;
    queueMicrotask(() => {
      this.#isWoken = false;
      this.#turn();
    });
  }

  show(state: ClientState): void {
    if (this.state.name === "closed") return;
    this.state = state;
    this.setup.onState(state);
  }

  /** Says goodbye, tells everybody who waits, and keeps what is to be kept. */
  async close(): Promise<void> {
    if (this.state.name === "closed") return;
    goOffline(this);
    clearTimeout(this.#timer);
    this.show({ name: "closed" });
    // What the store has not got yet is kept there, although nobody waits for it here.
    const saved = this.saving.finish();
    this.session.failEverything();
    await saved;
  }

  #turn(): void {
    if (this.state.name === "closed") return;
    const now = performance.now();
    step(this, now);
    this.#flush(now);
    this.saving.step();
    clearTimeout(this.#timer);
    const wait = Math.min(this.#deadline(now) - now, LONGEST_TIMER);
    if (wait < LONGEST_TIMER || this.isOnline) {
      this.#timer = setTimeout(() => this.#turn(), Math.max(wait, 0));
    }
  }

  /** Moves commands from the session to the active connection, as far as there is room. */
  #flush(now: number): void {
    const { active } = this;
    while (active && !active.link.isCongested) {
      const outgoing =
        this.unsent.length > 0 ? this.unsent.splice(0) : pollCommands(this.session, now);
      if (outgoing.length === 0) return;
      active.link.send(outgoing);
      active.liveness.onSent(
        now,
        outgoing.some(({ command }) => command.id !== undefined),
      );
    }
  }

  #deadline(now: number): number {
    const { active, attempt, background, session, tokens } = this;
    const isCongested = active?.link.isCongested ?? false;
    return Math.min(
      deadline(session, !isCongested),
      isCongested ? now + CONGESTION_CHECK : NEVER,
      active?.liveness.deadline() ?? NEVER,
      background.deadline(),
      this.isOnline && !background.isAsleep ? tokens.deadline() : NEVER,
      attempt?.deadline() ?? NEVER,
      startAt(this),
    );
  }
}

/** What a timer can count to, in milliseconds: 24.8 days. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** A socket does not say when it has room again. */
const CONGESTION_CHECK = 20;
