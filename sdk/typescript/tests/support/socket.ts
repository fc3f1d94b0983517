// A WebSocket whose server is the test.
import { encode, FrameDecoder } from "../../src/codec/frames.js";
import type { Init } from "../../src/codec/message.js";
import type { Command, Frame } from "../../src/wire/schema.js";
import { WELCOME } from "./transport.js";

export class FakeSocket {
  /** All that were made, the newest last. */
  static all: FakeSocket[] = [];
  binaryType = "";
  bufferedAmount = 0;
  readyState = 0;
  onopen = () => {};
  onmessage: (event: { data: unknown }) => void = () => {};
  onclose: (event: { code: number; reason: string }) => void = () => {};
  /** What was sent and not taken by the test. */
  readonly commands: Command[] = [];
  closedWith: number | undefined;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.all.push(this);
  }

  send(bytes: Uint8Array): void {
    for (const { command } of new FrameDecoder(1 << 20).push(bytes)) {
      if (command) this.commands.push(command);
    }
  }

  close(code: number): void {
    this.closedWith = code;
  }

  open(): void {
    this.readyState = 1;
    this.onopen();
  }

  say(...frames: Init<Frame>[]): void {
    for (const bytes of encode(frames)) this.onmessage({ data: bytes.buffer });
  }

  /** Answers the Hello. */
  welcome(): void {
    this.say({ reply: { id: this.commands.shift()?.id as number, welcome: WELCOME } });
  }
}
