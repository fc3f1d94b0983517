// A transport without a network: tests see each connection that the client makes, say what the server says,
// and look at what it was sent. With it a session in fake time.
import { expect, vi } from "vitest";
import { decodeDatagram, encodeDatagram } from "../../src/codec/frames.js";
import type { Init } from "../../src/codec/message.js";
import { Driver, type Setup } from "../../src/driver/driver.js";
import { goOnline } from "../../src/driver/steps.js";
import type { ClientState } from "../../src/events.js";
import type { SubscribeOptions } from "../../src/options.js";
import { Send } from "../../src/send.js";
import { OUTBOX_LIMITS, type OutboxLimits } from "../../src/session/outbox.js";
import { Session } from "../../src/session/session.js";
import type {
  Link,
  LinkEnd,
  LinkEvents,
  Outgoing,
  TransportName,
} from "../../src/transport/link.js";
import type { Target } from "../../src/transport/target.js";
import type { Command, Frame, Publication, Reply, Welcome } from "../../src/wire/schema.js";

/** One connection, seen from the server. */
export class FakeLink implements Link {
  isCongested = false;
  isClosed = false;
  /** Commands that were sent and not looked at, as the server decodes them. */
  readonly sent: Command[] = [];
  readonly routes: string[] = [];

  constructor(
    readonly transport: TransportName,
    readonly target: Target,
    readonly events: LinkEvents,
  ) {}

  send(outgoing: readonly Outgoing[]): void {
    for (const { command, route } of outgoing) {
      const frame = decodeDatagram(encodeDatagram({ command }));
      this.sent.push(frame.command as Command);
      this.routes.push(route);
    }
  }

  close(): void {
    this.isClosed = true;
  }

  establish(): void {
    this.events.established();
  }

  end(end: LinkEnd = { reason: "broken" }): void {
    this.events.ended(end);
  }

  /** Says something, through the codec as over a wire, all of it together. */
  async say(...frames: Init<Frame>[]): Promise<void> {
    this.events.frames(frames.map((frame) => decodeDatagram(encodeDatagram(frame))));
    await settle();
  }

  reply(id: number, result: Omit<Init<Reply>, "id">): Promise<void> {
    return this.say({ reply: { id, ...result } });
  }

  /** Takes the next command, which has to be of this verb. */
  take<Verb extends keyof Command>(verb: Verb): { id: number; asked: NonNullable<Command[Verb]> } {
    const command = this.sent.shift();
    expect(
      command?.[verb],
      `${verb} was to be sent, not ${JSON.stringify(verbsOf(command))}`,
    ).toBeDefined();
    return { id: command?.id as number, asked: command?.[verb] as NonNullable<Command[Verb]> };
  }

  /** Commands of this verb among those that wait, taken. */
  takeAll<Verb extends keyof Command>(
    verb: Verb,
  ): { id: number; asked: NonNullable<Command[Verb]> }[] {
    const taken = this.sent.filter((command) => command[verb]);
    const rest = this.sent.filter((command) => !command[verb]);
    this.sent.splice(0, this.sent.length, ...rest);
    return taken.map(({ id, [verb]: asked }) => ({
      id,
      asked: asked as NonNullable<Command[Verb]>,
    }));
  }

  /** Answers the Hello. */
  async welcome(welcome: Init<Welcome> = {}): Promise<Command> {
    await settle();
    const hello = this.sent.shift() as Command;
    expect(hello.hello).toBeDefined();
    await this.reply(hello.id, { welcome: { ...WELCOME, ...welcome } });
    return hello;
  }
}

const verbsOf = (command?: Command) =>
  command && Object.entries(command).filter(([name, value]) => name !== "id" && value);

export const WELCOME: Init<Welcome> = {
  sessionId: "session",
  resumeTicket: new Uint8Array([1, 2, 3]),
  user: "alice",
  node: "node",
  heartbeatMs: 25_000,
  limits: { payloadBytes: 65_536 },
  durability: 1,
  serverTimeMs: 1_800_000_000_000,
};

/** Lets everything run that needs no time. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

export const later = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** A driver with everything around it but a network. */
export class Bench {
  readonly links: FakeLink[] = [];
  readonly states: ClientState[] = [];
  readonly session: Session;
  readonly driver: Driver;

  constructor(
    setup: Partial<Setup> & { transports?: TransportName[]; outbox?: Partial<OutboxLimits> } = {},
  ) {
    const { transports = ["websocket"], outbox, ...rest } = setup;
    this.session = new Session({
      clientId: "phone-1",
      userAgent: "test",
      outbox: { ...OUTBOX_LIMITS, ...outbox },
      firstSeq: 1,
      isStored: rest.store !== undefined,
      commandTimeout: 5000,
    });
    const dial = (transport: TransportName) => (target: Target, events: LinkEvents) => {
      const link = new FakeLink(transport, target, events);
      this.links.push(link);
      return link;
    };
    this.driver = new Driver({
      session: this.session,
      target: { host: "home", port: "4443" },
      dials: new Map(transports.map((name) => [name, dial(name)])),
      token: "token",
      store: undefined,
      onState: (state) => this.states.push(state),
      ...rest,
    });
  }

  /** The connection that was begun last. */
  get link(): FakeLink {
    return this.links.at(-1) as FakeLink;
  }

  /** Connects, and answers the Hello. */
  async connect(welcome: Init<Welcome> = {}): Promise<FakeLink> {
    goOnline(this.driver);
    await settle();
    this.link.establish();
    await this.link.welcome(welcome);
    return this.link;
  }

  /** Breaks the present connection and makes the next one; gives its Hello, too. */
  async reconnect(
    welcome: Init<Welcome> = { resumed: true },
  ): Promise<{ link: FakeLink; hello: Command }> {
    this.link.end();
    await later(1000);
    this.link.establish();
    const hello = await this.link.welcome(welcome);
    return { link: this.link, hello };
  }

  publish(channel: string, text = ""): Send {
    const payload = new TextEncoder().encode(text);
    const send = new Send("id", channel, payload);
    const clientMsgId = new Uint8Array(16);
    const publish = { channel, payload, clientSeq: 0, clientMsgId, clientTsMs: 0, kind: 0 };
    this.session.publish({ ...publish, targetOffset: 0, ordered: true, settledBelow: 0 }, send);
    this.driver.wake();
    return send;
  }

  subscribe(channel: string, options: SubscribeOptions = {}) {
    const entry = this.session.subscribe(channel, options);
    entry.mailbox.onRoom = () => this.driver.wake();
    this.driver.wake();
    return entry;
  }
}

/** A publication as the server pushes it. */
export const pub = (channel: string, offset: number, epoch = 1): Init<Publication> => ({
  channel,
  epoch,
  offset,
  payload: new TextEncoder().encode(String(offset)),
});

/** The publications after `after` up to `upto`, as a page. */
export const page = (channel: string, after: number, upto: number, live = true, epoch = 1) => ({
  channel,
  position: { epoch, offset: upto },
  publications: Array.from({ length: upto - after }, (_, at) =>
    pub(channel, after + at + 1, epoch),
  ),
  live,
  headOffset: upto,
});

/** Everything that waits for a reader. */
export function drain(mailbox: { take(): unknown }) {
  const events = [];
  for (let event = mailbox.take(); event; event = mailbox.take()) events.push(event);
  return events as import("../../src/events.js").SubscriptionEvent[];
}

/** The offsets of the publications among events. */
export const offsetsOf = (events: import("../../src/events.js").SubscriptionEvent[]) =>
  events.flatMap((event) => (event.type === "publication" ? [event.position.offset] : []));
