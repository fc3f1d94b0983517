// How the driver gets a connection: attempts, candidates, Hellos and their answers.

import { exact } from "../codec/bytes.js";
import { notAnswered, refusal, SternaError } from "../errors.js";
import { handleWelcome, sayHello } from "../session/greeting.js";
import { Liveness } from "../session/liveness.js";
import { NEVER } from "../session/never.js";
import type { Plan } from "../session/race.js";
import { broken, type Link, type TransportName } from "../transport/link.js";
import type { Target } from "../transport/target.js";
import type { Reply, Welcome, Error as WireError } from "../wire/schema.js";
import { Attempt, Greeted, type Purpose } from "./attempt.js";
import type { Driver } from "./driver.js";
import { handleActiveFrame, handleEnd, handleLinkFrames, toError } from "./reports.js";
import { goOffline, handleExpired, stepTokens } from "./steps.js";

/** When the session on a WebSocket should look whether WebTransport works by now. */
function probeAt({ active, attempt, handover, race }: Driver): number {
  const isIdle = active?.link.transport === "websocket" && !attempt && !handover;
  return isIdle ? race.probeAt : NEVER;
}

/** When an attempt is to be started. */
export function startAt(driver: Driver): number {
  if (driver.attempt || !driver.background.mayAttempt) return NEVER;
  const handoverAt = driver.handover?.at ?? NEVER;
  return Math.min(probeAt(driver), handoverAt, driver.retryAt);
}

/** Where to connect next: to the successor of a node that left and home in turn, since either may be away. */
export function nextTarget({ backoff, setup, successor }: Driver): Target {
  return successor && backoff.failures % 2 === 0 ? successor : setup.target;
}

export function stepAttempt(driver: Driver, now: number): void {
  startDueAttempt(driver, now);
  const { attempt } = driver;
  if (!attempt) return;
  attempt.hurryIfOverdue(now);
  for (const transport of attempt.takeDue(now)) {
    attempt.connecting.set(startLink(driver, transport, attempt.target), now);
  }
  const greeted = attempt.takeUnanswered(now);
  if (greeted) {
    attempt.lastEnd = broken("no answer in time");
    greeted.link.close();
    onCandidateFailed(driver, attempt, greeted.link.transport, now);
  }
  greetNext(driver, attempt, now);
  if (driver.attempt === attempt && attempt.isExhausted(now)) onAttemptFailed(driver, attempt, now);
}

function startDueAttempt(driver: Driver, now: number): void {
  const { active, attempt, background, handover, race, setup } = driver;
  if (!background.mayAttempt) return;
  if (handover && handover.at <= now && (!attempt || attempt.purpose === "upgrade")) {
    driver.handover = undefined;
    startAttempt(driver, handover.target, "replace", race.plan(), now);
  } else if (attempt) {
    return;
  } else if (probeAt(driver) <= now) {
    startAttempt(driver, setup.target, "upgrade", [["webtransport", 0]], now);
  } else if (!active && driver.retryAt <= now) {
    startAttempt(driver, nextTarget(driver), "connect", race.plan(), now);
    showConnecting(driver);
  }
}

export function startAttempt(
  driver: Driver,
  target: Target,
  purpose: Purpose,
  plan: Plan,
  now: number,
): void {
  driver.retryAt = NEVER;
  driver.attempt?.close();
  driver.attempt = new Attempt(target, purpose, plan, now);
}

function startLink(driver: Driver, transport: TransportName, target: Target): Link {
  const dial = driver.setup.dials.get(transport);
  if (!dial) throw new SternaError("CONFIG", `there is no ${transport} here`);
  // Events come later than the link, always.
  const link: Link = dial(target, {
    established: () => {
      const now = performance.now();
      const started = driver.attempt?.connecting.get(link);
      if (started === undefined || !driver.attempt) return;
      driver.attempt.connecting.delete(link);
      driver.attempt.ready.add(link);
      if (transport === "webtransport") driver.race.onConnected(now - started);
      driver.wake();
    },
    frames: (frames) => handleLinkFrames(driver, link, frames),
    ended: (end) => handleEnd(driver, link, end),
  });
  return link;
}

/** Says Hello on the best candidate that is ready, once there is a token. */
function greetNext(driver: Driver, attempt: Attempt, now: number): void {
  if (attempt.ready.size === 0 || attempt.greeted) return;
  const token = driver.tokens.forHello();
  if (token === undefined) return stepTokens(driver, now);
  const link = attempt.takeReady();
  if (!link) return;
  const { greeting, command } = sayHello(driver.session, token);
  attempt.greeted = new Greeted(link, greeting, now);
  driver.hellos.onSaid(link, now);
  link.send([{ route: "control", command }]);
}

export function onCandidateFailed(
  driver: Driver,
  attempt: Attempt,
  transport: TransportName,
  now: number,
): void {
  if (transport === "webtransport") driver.race.onFailed(now);
  attempt.hurry(now);
}

function onAttemptFailed(driver: Driver, attempt: Attempt, now: number): void {
  const isPending = [...attempt.connecting.keys()].some(
    (link) => link.transport === "webtransport",
  );
  if (isPending) driver.race.onFailed(now);
  const end = attempt.lastEnd ?? broken("no answer in time");
  if (attempt.purpose === "upgrade") dropAttempt(driver);
  else retryAttempt(driver, toError(end), 0, now);
}

export function dropAttempt(driver: Driver): void {
  driver.attempt?.close();
  driver.attempt = undefined;
}

export function showConnecting(driver: Driver): void {
  const { active, background, backoff, lastError, state } = driver;
  const attempt = backoff.failures + 1;
  if (background.isAsleep) {
    driver.show({ name: "background" });
  } else if (!active) {
    const isShown =
      state.name === "connecting" && state.attempt === attempt && state.lastError === lastError;
    if (!isShown) driver.show({ name: "connecting", attempt, lastError });
  }
}

export function handleHelloReply(
  driver: Driver,
  greeted: Greeted,
  reply: Reply,
  now: number,
): void {
  const { attempt, hellos } = driver;
  if (!attempt) return;
  attempt.greeted = undefined;
  hellos.onAnswered(greeted.link);
  if (reply.welcome) {
    onWelcome(driver, attempt, greeted, reply.welcome, now);
    return;
  }
  greeted.link.close();
  if (reply.error) onHelloRefused(driver, reply.error, now);
  else goOffline(driver, notAnswered("hello"));
}

function onWelcome(
  driver: Driver,
  attempt: Attempt,
  greeted: Greeted,
  welcome: Welcome,
  now: number,
): void {
  const { link, greeting } = greeted;
  const { active: old, session, tokens } = driver;
  const expiresAt = exact(welcome.tokenExpiresAtMs);
  // By the server's clock, which is also the one that the token's end is judged by.
  const lifetime = expiresAt && Math.max(expiresAt - exact(welcome.serverTimeMs), 0);
  tokens.onWelcome(now, expiresAt ? lifetime : undefined, Math.random());
  driver.active = { link, liveness: new Liveness(welcome.heartbeatMs, now), since: now };
  driver.unsent = [];
  driver.retryAt = NEVER;
  driver.handover = undefined;
  driver.lastError = undefined;
  session.stats.handovers += Number(old !== undefined);
  const connected = handleWelcome(session, greeting, welcome, link.transport, now);
  // Made before broken: only now the old connection goes.
  old?.link.close();
  const goesOn = link.transport === "websocket" && attempt.becomeUpgrade();
  if (!goesOn) dropAttempt(driver);
  driver.show({ name: "connected", ...connected });
  for (const frame of greeted.early) handleActiveFrame(driver, frame, now);
  if (greeted.lostEarly) session.handlePushesLost();
}

function onHelloRefused(driver: Driver, error: WireError, now: number): void {
  const failure = refusal(error);
  if (failure.code === "TOKEN_EXPIRED") {
    if (handleExpired(driver)) retryAttempt(driver, failure, 0, now);
  } else if (failure.retryable) {
    retryAttempt(driver, failure, failure.retryAfter ?? 0, now);
  } else {
    goOffline(driver, failure);
  }
}

/** Gives the present attempt up and plans the next, not before what the server wished. */
function retryAttempt(driver: Driver, error: SternaError, atLeast: number, now: number): void {
  dropAttempt(driver);
  driver.lastError = error;
  const at = now + Math.max(driver.backoff.onFailure(Math.random()), atLeast);
  if (driver.active) {
    // The old connection still carries the session; keep trying beside it.
    driver.handover = { at, target: nextTarget(driver) };
  } else {
    driver.retryAt = at;
    showConnecting(driver);
  }
}
