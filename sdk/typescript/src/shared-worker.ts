/**
 * The script of the SharedWorker that `shareClient` of `@sterna/client/worker` talks to: importing it is all
 * there is to do.
 *
 * ```ts
 * // sterna-worker.js
 * import "@sterna/client/shared-worker";
 * ```
 *
 * @module
 */
import { Hub } from "./shared/hub.js";

const scope = globalThis as unknown as {
  onconnect: (event: MessageEvent) => void;
};

const hub = new Hub(navigator.locks);
scope.onconnect = ({ ports: [port] }) => port && hub.accept(port);
