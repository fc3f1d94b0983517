// What the browser tells a page of its life, passed on to the client: networks, visibility, freezing, the
// back/forward cache. Hidden pages keep their connection; frozen ones cannot, so theirs is closed in time,
// and their session waits on the server.

import { type Naming, networkType } from "./session/network.js";

/** What is told. */
interface Listener {
  networkChanged(change: "path" | "online" | "wake"): void;
  background(grace: number): void;
  foreground(): void;
  disconnect(): void;
}

/** Follows the page, where there is one. Returns what ends it. */
export function followPage(
  client: Listener,
  scope: Pick<Window, "document" | "addEventListener"> = globalThis,
): () => void {
  const { document } = scope;
  if (!scope.addEventListener || !document) return () => {};
  const ends = new AbortController();
  const { signal } = ends;
  // `navigator.onLine` may be true without a network; only the change to it says something.
  scope.addEventListener("online", () => client.networkChanged("online"), { signal });
  // Told of every new estimate of its speed, too, which is no news.
  let type = networkType();
  (globalThis.navigator as Naming | undefined)?.connection?.addEventListener(
    "change",
    () => {
      if (networkType() === type) return;
      type = networkType();
      client.networkChanged("path");
    },
    { signal },
  );
  scope.addEventListener("pageshow", ({ persisted }) => persisted && client.foreground(), {
    signal,
  });
  scope.addEventListener(
    "pagehide",
    ({ persisted }) => (persisted ? client.background(0) : client.disconnect()),
    { signal },
  );
  document.addEventListener(
    "visibilitychange",
    () => document.visibilityState === "visible" && client.networkChanged("wake"),
    { signal },
  );
  document.addEventListener("freeze", () => client.background(0), { signal });
  document.addEventListener("resume", () => client.foreground(), { signal });
  return () => ends.abort();
}
