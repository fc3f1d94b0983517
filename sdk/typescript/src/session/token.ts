// Which access token to show, and when to ask for another. Pure: the driver asks the provider.

import { SternaError } from "../errors.js";
import type { TokenReason } from "../options.js";
import { Backoff } from "./backoff.js";
import { NEVER } from "./never.js";

/** What a token that has arrived is good for. */
export type Arrived =
  /** For the Hello of the next connection. */
  | "hello"
  /** To be sent as a Refresh. */
  | "refresh"
  /** Its session is over. */
  | "stale"
  /** Asked again later. */
  | "later"
  /** Terminal. */
  | "refused";

export class TokenKeeper {
  token: string | undefined;
  /** What was left of the token at the last Welcome. */
  #lifetime: number | undefined;
  #refreshAt = NEVER;
  #wanted: TokenReason | undefined;
  #notBefore = 0;
  /** The provider is being asked; at most once at a time. */
  #asking = false;
  /** Sessions of this client; an answer for an earlier one is not used. */
  #generation = 0;
  readonly #backoff = new Backoff();

  /** `fixed`: a token that never changes (or ""), where there is no provider. */
  constructor(readonly fixed?: string) {
    this.token = fixed;
  }

  get isRenewable(): boolean {
    return this.fixed === undefined;
  }

  /** The token for a Hello; without one, a provider is going to be asked. */
  forHello(): string | undefined {
    if (this.token === undefined) this.#wanted ??= "connect";
    return this.token;
  }

  /** What to ask the provider now; the answer comes with the same generation. */
  pollAsk(now: number): { reason: TokenReason; generation: number } | undefined {
    if (this.#refreshAt <= now) {
      this.#refreshAt = NEVER;
      this.#wanted ??= "refresh";
    }
    const reason = this.#wanted;
    if (!reason || !this.isRenewable || this.#asking || this.#notBefore > now) return undefined;
    this.#asking = true;
    return { reason, generation: this.#generation };
  }

  /** What the provider said: a token, or why there is none. */
  handleAnswer(generation: number, answer: unknown, now: number, chance: number): Arrived {
    if (generation !== this.#generation) return "stale";
    this.#asking = false;
    if (typeof answer === "string") {
      const reason = this.#wanted;
      this.#wanted = undefined;
      this.#notBefore = 0;
      this.token = answer;
      return reason === "refresh" ? "refresh" : "hello";
    }
    if (answer instanceof SternaError && !answer.retryable) return "refused";
    this.#notBefore = now + this.#backoff.onFailure(chance);
    return "later";
  }

  /** A session began with the present token, which lives for `lifetime` more. */
  onWelcome(now: number, lifetime: number | undefined, chance: number): void {
    // Not before the server took a token: a provider may have none but bad ones.
    this.#backoff.reset();
    this.#lifetime = lifetime;
    const isRefreshed = lifetime !== undefined && this.isRenewable;
    const share = 0.75 + 0.1 * chance;
    this.#refreshAt = isRefreshed ? now + lifetime * share : NEVER;
  }

  /**
   * The server took the new token. It does not say how long that lives, so: as long as the one before.
   */
  onRefreshed(now: number, chance: number): void {
    const lifetime = this.#lifetime;
    this.onWelcome(now, lifetime && Math.max(lifetime, LEAST_LIFETIME), chance);
  }

  onRefreshFailed(now: number, chance: number): void {
    this.#wanted = "refresh";
    this.#notBefore = now + this.#backoff.onFailure(chance);
  }

  /** The server says that the token has expired. False: there is no way to get another. */
  onExpired(): boolean {
    if (this.isRenewable) {
      this.token = undefined;
      this.#wanted = "expired";
    }
    return this.isRenewable;
  }

  /** The session is over by the application's wish: its token is forgotten. */
  onSessionEnd(): void {
    this.#generation++;
    // Its provider may never answer.
    this.#asking = false;
    this.#refreshAt = NEVER;
    this.#wanted = undefined;
    this.#notBefore = 0;
    this.token = this.fixed;
  }

  deadline(): number {
    if (!this.isRenewable || this.#asking) return NEVER;
    return Math.min(this.#wanted ? this.#notBefore : NEVER, this.#refreshAt);
  }
}

/**
 * Assumed of a refreshed token at least, so that one that was nearly over at the Welcome does not make the
 * client refresh in a tight loop.
 */
const LEAST_LIFETIME = 10_000;
