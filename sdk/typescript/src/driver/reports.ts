// What connections report to the driver: frames, and their end.
import { disconnected, SternaError } from "../errors.js";
import { handleFrame } from "../session/replies.js";
import { broken, type Link, type LinkEnd } from "../transport/link.js";
import { successorOf } from "../transport/target.js";
import {
  CLOSE_REVOKED,
  CLOSE_SUPERSEDED,
  CLOSE_TOKEN_EXPIRED,
  CLOSE_UNAUTHORIZED,
} from "../wire/codes.js";
import { isTerminal } from "../wire/reason.js";
import type { Frame, GoAway } from "../wire/schema.js";
import { dropAttempt, handleHelloReply, onCandidateFailed, showConnecting } from "./connecting.js";
import type { Driver } from "./driver.js";
import { goOffline, handleExpired } from "./steps.js";

/** What came together, in its order. What follows the end of the link is of no use to anybody. */
export function handleLinkFrames(driver: Driver, link: Link, frames: readonly Frame[]): void {
  const now = performance.now();
  for (const frame of frames) {
    const greeted = driver.attempt?.greeted;
    if (driver.active?.link === link) {
      handleActiveFrame(driver, frame, now);
    } else if (greeted?.link === link) {
      if (frame.reply?.id === greeted.greeting.id)
        handleHelloReply(driver, greeted, frame.reply, now);
      else greeted.keepEarly(frame);
    }
  }
  driver.wake();
}

export function handleActiveFrame(driver: Driver, frame: Frame, now: number): void {
  const { active, session } = driver;
  if (!active) return;
  try {
    handleFrame(session, frame, now);
  } catch (error) {
    // Numbers that no server has: whatever else this one says is not to be trusted either.
    active.link.close();
    loseActive(driver, broken(error), now);
    return;
  }
  active.liveness.onReceived(now, session.inFlight.size > 0);
  handleNotices(driver, now);
}

/** Does what the session could not do by itself. */
export function handleNotices(driver: Driver, now: number): void {
  for (const notice of driver.session.notices.splice(0)) {
    if ("goAway" in notice) {
      handleGoAway(driver, notice.goAway, now);
    } else if ("refreshed" in notice) {
      driver.tokens.onRefreshed(now, Math.random());
    } else {
      const { refreshFailed: error } = notice;
      // An expired token is the provider's to replace; it is asked again.
      if (error.retryable || error.code === "TOKEN_EXPIRED") {
        driver.tokens.onRefreshFailed(now, Math.random());
      } else {
        goOffline(driver, error);
      }
    }
  }
}

export function handleEnd(driver: Driver, link: Link, end: LinkEnd): void {
  const now = performance.now();
  const { attempt } = driver;
  if (driver.active?.link === link) {
    loseActive(driver, end, now);
  } else if (attempt?.onEnded(link, end)) {
    onCandidateFailed(driver, attempt, link.transport, now);
    // A server that closes a candidate may mean the client as a whole.
    if (end.code === CLOSE_TOKEN_EXPIRED) handleExpired(driver);
    else if (endsAll(driver, link, end, now)) goOffline(driver, toError(end));
  }
  driver.wake();
}

/** Whether the end of this connection ends all trying, and is not our own doing. */
function endsAll(driver: Driver, link: Link, { code }: LinkEnd, now: number): boolean {
  const byUs = code === CLOSE_SUPERSEDED && driver.hellos.maySupersede(link, now);
  return code !== undefined && isTerminal(code) && !byUs;
}

export function loseActive(driver: Driver, end: LinkEnd, now: number): void {
  const { active, attempt, backoff, session } = driver;
  if (!active) return;
  driver.active = undefined;
  driver.unsent = [];
  driver.handover = undefined;
  session.handleDisconnected();
  if (endsAll(driver, active.link, end, now)) return goOffline(driver, toError(end));
  if (end.code === CLOSE_TOKEN_EXPIRED && !handleExpired(driver)) return;
  driver.lastError = toError(end);
  driver.retryAt = now + backoff.onLost(now - active.since, Math.random());
  // A mere probe must not stand in the way of an attempt with all transports.
  if (attempt?.purpose === "upgrade" && !attempt.greeted) dropAttempt(driver);
  else if (attempt) attempt.purpose = "connect";
  showConnecting(driver);
}

/**
 * The node leaves: connect elsewhere at some time before the deadline, so that not all clients do at once.
 */
function handleGoAway(driver: Driver, { deadlineMs, successor }: GoAway, now: number): void {
  const target = successorOf(driver.setup.target, successor);
  driver.successor = successor ? target : undefined;
  const within = Math.min(HANDOVER_SHARE * deadlineMs * Math.random(), LATEST_HANDOVER);
  driver.handover = { at: now + within, target };
}

export function toError({ code, reason }: LinkEnd): SternaError {
  if (code === CLOSE_UNAUTHORIZED || code === CLOSE_REVOKED) {
    return new SternaError("UNAUTHORIZED", reason, { closeCode: code });
  }
  return disconnected(reason, code);
}

/** Handovers spread over the first 80 % of a drain's deadline. */
const HANDOVER_SHARE = 0.8;
const LATEST_HANDOVER = 300_000;
