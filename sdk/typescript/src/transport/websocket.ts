// A WebSocket connection: frames with their length in binary messages, several in one where several wait.
import { encode, FrameDecoder } from "../codec/frames.js";
import {
  CLOSE_NORMAL,
  CLOSE_PROTOCOL_ERROR,
  FRAME_BYTES,
  SUBPROTOCOL_PROTOBUF,
} from "../wire/codes.js";
import {
  broken,
  CONGESTED_BYTES,
  type Dial,
  type LinkEnd,
  type WebSocketConstructor,
} from "./link.js";
import { urlOf } from "./target.js";

/** Dials with the given WebSocket. */
export function webSocketDial(WebSocket: WebSocketConstructor): Dial {
  return (target, events) => {
    let socket: WebSocket | undefined;
    let isOver = false;
    const end = (end: LinkEnd, code = CLOSE_NORMAL) => {
      if (isOver) return;
      isOver = true;
      socket?.close(code);
      events.ended(end);
    };
    try {
      socket = new WebSocket(urlOf(target, "wss"), [SUBPROTOCOL_PROTOBUF]);
      socket.binaryType = "arraybuffer";
      socket.onopen = () => !isOver && events.established();
      socket.onmessage = ({ data }) => {
        try {
          if (!isOver) events.frames(wholeFrames(data));
        } catch (error) {
          end(broken(error), CLOSE_PROTOCOL_ERROR);
        }
      };
      let cause = "the connection broke";
      // Browsers keep the cause from pages; the close event follows.
      socket.onerror = (event) => {
        cause = (event as ErrorEvent).message || cause;
      };
      socket.onclose = ({ code, reason }) => {
        // 1005 and 1006 are the platform's words for "no close frame".
        end(code === 1005 || code === 1006 ? broken(cause) : { code, reason });
      };
    } catch (error) {
      queueMicrotask(() => end(broken(error)));
    }
    return {
      transport: "websocket",
      get isCongested() {
        return (socket?.bufferedAmount ?? 0) > CONGESTED_BYTES;
      },
      send(outgoing) {
        // What is sent into a socket that is closing is lost; its end is on the way.
        if (isOver || socket?.readyState !== OPEN) return;
        for (const message of encode(outgoing, MESSAGE_BYTES)) {
          socket.send(message as Uint8Array<ArrayBuffer>);
        }
      },
      close() {
        isOver = true;
        socket?.close(CLOSE_NORMAL);
      },
    };
  };
}

/** The frames of one message: all of them whole. */
function wholeFrames(data: unknown) {
  if (!(data instanceof ArrayBuffer)) throw new Error("the server sent a text message");
  const decoder = new FrameDecoder(FRAME_BYTES);
  const frames = decoder.push(new Uint8Array(data));
  decoder.finish();
  return frames;
}

const OPEN = 1;
/** With one frame of the largest payload more, this stays within what a server takes as one message. */
const MESSAGE_BYTES = FRAME_BYTES / 2;
