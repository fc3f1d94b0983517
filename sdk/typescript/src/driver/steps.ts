// What the driver does about wishes and time: the network, silence, tokens, the background.

import { SternaError, tokenExpired } from "../errors.js";
import { NEVER } from "../session/never.js";
import { handleTimeout, ping, refresh } from "../session/polling.js";
import { broken } from "../transport/link.js";
import {
  dropAttempt,
  nextTarget,
  showConnecting,
  startAttempt,
  stepAttempt,
} from "./connecting.js";
import type { Driver } from "./driver.js";
import { handleNotices, loseActive } from "./reports.js";

/** What happened to the network: another path, a network at all, or the page has been asleep. */
export type NetworkChange = "path" | "online" | "wake";

/** Does everything that is due now. */
export function step(driver: Driver, now: number): void {
  const { active, attempt, background } = driver;
  if (background.pollSleep(now, !active && !attempt) && driver.isOnline) fallAsleep(driver);
  if (driver.isOnline && !background.isAsleep) {
    stepTokens(driver, now);
    stepLiveness(driver, now);
    stepAttempt(driver, now);
  }
  handleTimeout(driver.session, now);
  handleNotices(driver, now);
}

// Wishes.

export function goOnline(driver: Driver): void {
  if (driver.isOnline || driver.state.name === "closed") return;
  driver.isOnline = true;
  driver.lastError = undefined;
  driver.backoff.reset();
  driver.retryAt = performance.now();
  showConnecting(driver);
  driver.wake();
}

/** Stops trying. With an error: for good, until the application connects again. */
export function goOffline(driver: Driver, error?: SternaError): void {
  const { active, session } = driver;
  dropAttempt(driver);
  if (active) {
    // The session ends on the server, too.
    active.link.send([{ route: "control", command: { goodbye: {} } }]);
    letGo(driver);
  }
  driver.isOnline = false;
  driver.handover = undefined;
  driver.retryAt = NEVER;
  driver.tokens.onSessionEnd();
  driver.asking?.abort();
  session.resumeTicket = new Uint8Array();
  driver.show({ name: "disconnected", error });
}

/** Closes the active connection; the session waits on the server, unless it was told otherwise. */
function letGo(driver: Driver): void {
  driver.active?.link.close();
  driver.active = undefined;
  driver.unsent = [];
  driver.session.handleDisconnected();
}

function fallAsleep(driver: Driver): void {
  dropAttempt(driver);
  letGo(driver);
  driver.handover = undefined;
  driver.retryAt = NEVER;
  showConnecting(driver);
}

export function enterBackground(driver: Driver, grace: number): void {
  const now = performance.now();
  driver.background.enter(now, grace);
  // A page that is being frozen has no later turn.
  step(driver, now);
  driver.wake();
}

/**
 * Back in the foreground: what failed before does not count, and a connection that was kept has to show that
 * it is alive.
 */
export function leaveBackground(driver: Driver): void {
  if (!driver.background.leave()) return;
  const now = performance.now();
  driver.backoff.reset();
  if (driver.active) {
    sendPing(driver, now);
  } else if (driver.isOnline && !driver.attempt) {
    driver.retryAt = now;
    showConnecting(driver);
  }
  driver.wake();
}

export function onNetworkChange(driver: Driver, change: NetworkChange): void {
  const { active, attempt, backoff, race } = driver;
  if (!driver.isOnline) return;
  const now = performance.now();
  backoff.reset();
  if (change !== "wake") race.onNetworkChange(now);
  if (!active) {
    if (!attempt) driver.retryAt = now;
  } else {
    // TCP does not survive a change of address: the next connection is made beside it.
    if (change !== "wake") driver.handover = { at: now, target: nextTarget(driver) };
    sendPing(driver, now);
  }
  driver.wake();
}

// Silence.

function stepLiveness(driver: Driver, now: number): void {
  for (;;) {
    const action = driver.active?.liveness.poll(now);
    if (!action) return;
    if (action === "ping") {
      sendPing(driver, now);
    } else if (action === "dead") {
      driver.active?.link.close();
      loseActive(driver, broken("the connection is dead"), now);
    } else {
      const isFree = !driver.attempt || driver.attempt.purpose === "upgrade";
      if (!isFree || !driver.background.mayAttempt) continue;
      startAttempt(driver, driver.setup.target, "replace", driver.race.planUrgent(), now);
    }
  }
}

function sendPing(driver: Driver, now: number): void {
  driver.active?.liveness.onSent(now, true);
  if (driver.unsent.length < UNSENT_PINGS) {
    driver.unsent.push(ping(driver.session, now, Date.now()));
  }
}

// Tokens.

export function stepTokens(driver: Driver, now: number): void {
  const { token: provider } = driver.setup;
  if (typeof provider === "string") return;
  const question = driver.tokens.pollAsk(now);
  if (!question) return;
  const { reason, generation } = question;
  const { clientId } = driver.session.options;
  const asking = new AbortController();
  driver.asking = asking;
  const answered = (answer: unknown) => handleToken(driver, generation, answer);
  Promise.resolve()
    .then(() => provider({ reason, clientId, signal: asking.signal }))
    .then(answered, (error) => answered(error ?? new Error("no token")));
}

function handleToken(driver: Driver, generation: number, answer: unknown): void {
  const now = performance.now();
  const arrived = driver.tokens.handleAnswer(generation, answer, now, Math.random());
  if (arrived === "refused") {
    goOffline(driver, answer as SternaError);
  } else if (arrived === "later") {
    const message = `the token provider failed: ${answer}`;
    driver.lastError = new SternaError("UNAUTHORIZED", message, { retryable: true, cause: answer });
  } else if (arrived === "refresh" && driver.active) {
    driver.unsent.push(refresh(driver.session, now, answer as string));
  }
  driver.wake();
}

/** The server says that the token has expired. False: there is no way to get another. */
export function handleExpired(driver: Driver): boolean {
  const isRenewable = driver.tokens.onExpired();
  if (!isRenewable) {
    goOffline(driver, tokenExpired());
  }
  return isRenewable;
}

/** Pings do not pile up while the path is stuck. */
const UNSENT_PINGS = 8;
