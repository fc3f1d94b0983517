// The first flight of a connection: the Hello that names everything the client wants, and what the Welcome
// changes. Pure.
import type { Init } from "../codec/message.js";
import type { Connected } from "../events.js";
import type { TransportName } from "../transport/link.js";
import { HELLO_FRAME_BYTES } from "../wire/codes.js";
import { type Command, DURABILITY, type Welcome } from "../wire/schema.js";
import { Leaving } from "./leaving.js";
import { networkNumber } from "./network.js";
import type { Session } from "./session.js";

/** A Hello that was sent and has not been answered. */
export interface Greeting {
  readonly id: number;
  /** Serials of the subscriptions that it has named, for the Welcome to compare with. */
  readonly named: Map<string, number>;
}

/** The first frame of a connection. The present connection, if there is one, goes on. */
export function sayHello(
  session: Session,
  accessToken: string,
): { greeting: Greeting; command: Init<Command> } {
  const { clientId, userAgent } = session.options;
  const { resumeTicket } = session;
  const named = new Map<string, number>();
  const subscriptions = [];
  let size = accessToken.length + resumeTicket.length + userAgent.length;
  for (const [channel, { machine, mailbox, serial }] of session.subscriptions) {
    // A character takes at most 3 bytes for each of its UTF-16 units.
    size += 3 * channel.length + SUBSCRIBE_BYTES;
    if (size > HELLO_BYTES) break;
    subscriptions.push(machine.question(mailbox.room()));
    named.set(channel, serial);
  }
  const id = session.inFlight.takeId();
  const network = networkNumber(session.network);
  const hello = { accessToken, clientId, resumeTicket, subscriptions, userAgent, network };
  return { greeting: { id, named }, command: { id, hello } };
}

/**
 * The session lives on the new connection from here on. Publications that were not answered are the first
 * to be sent there.
 */
export function handleWelcome(
  session: Session,
  { named }: Greeting,
  welcome: Welcome,
  transport: TransportName,
  now: number,
): Connected {
  session.forgetConnection();
  for (const [channel, serial] of named) {
    const entry = session.subscriptions.get(channel);
    // What the Hello named and nobody wants by now, or wants in another way, is left.
    if (entry?.serial === serial) entry.machine.onAsked(now);
    else session.leaving.set(channel, new Leaving());
  }
  if (!welcome.resumed && session.stats.connects > 0) {
    // Of a session that goes on, the node knows what it has missed.
    for (const { machine, mailbox } of session.subscriptions.values()) {
      if (machine.options.presence) mailbox.put([{ type: "presenceGap" }]);
    }
  }
  session.welcome = welcome;
  session.resumeTicket = welcome.resumeTicket as Uint8Array<ArrayBuffer>;
  session.stats.connects++;
  session.stats.resumed += Number(welcome.resumed);
  // What was touched without a connection is not known.
  session.onInboxTouched();
  const { sessionId, node, user, resumed, observedAddress } = welcome;
  const durability = DURABILITY[welcome.durability] ?? "unspecified";
  return { sessionId, transport, node, user, resumed, durability, observedAddress };
}

/** An upper bound of one Subscribe without its channel's name. */
const SUBSCRIBE_BYTES = 48;
/** Subscriptions that do not fit follow after the Welcome. */
const HELLO_BYTES = HELLO_FRAME_BYTES - 4 * 1024;
