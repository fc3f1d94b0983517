/**
 * Hooks for React 18 and later. No context is required: the client is an argument.
 *
 * @module
 */
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { Client } from "./client.js";
import type { SternaError } from "./errors.js";
import type { ClientState, Gap, Present, Publication, SubscriptionEvent } from "./events.js";
import type { SubscribeOptions } from "./options.js";
import { followPresence } from "./presence.js";
import type { Subscription } from "./subscription.js";

/** The state of the client now. */
export function useClientState(client: Client): ClientState {
  return useSyncExternalStore(
    (changed) => client.on("state", changed),
    () => client.state,
    () => client.state,
  );
}

/** A channel as a component shows it. */
export interface ChannelView {
  /** The newest of them, oldest first, at most `keep`. */
  readonly publications: readonly Publication[];
  /** It is live: publications arrive as they are stored. */
  readonly isLive: boolean;
  /** What will not come by itself. */
  readonly gaps: readonly Gap[];
  /** Why it has ended. */
  readonly error: SternaError | undefined;
  /** To publish with; `undefined` before the component is mounted. */
  readonly room: Subscription | undefined;
}

/** How {@link useChannel} follows. */
export interface UseChannelOptions extends SubscribeOptions {
  /** Publications that are kept for showing; 200 by default. */
  readonly keep?: number;
  /** Hears of every event beside. */
  readonly onEvent?: (event: SubscriptionEvent) => void;
}

const NOTHING: ChannelView = {
  publications: [],
  isLive: false,
  gaps: [],
  error: undefined,
  room: undefined,
};

/**
 * Follows a channel while the component is mounted. The options are those of the mounting; another channel or
 * client begins anew. One component at a time may follow a channel with one client.
 */
export function useChannel(
  client: Client,
  channel: string,
  options: UseChannelOptions = {},
): ChannelView {
  const latest = useRef(options);
  latest.current = options;
  const [view, setView] = useState(NOTHING);
  const followed = useRef<{ client: Client; channel: string } | undefined>(undefined);
  useEffect(() => {
    const { keep = 200, onEvent: _, ...subscribe } = latest.current;
    const room = client.subscribe(channel, subscribe);
    followed.current = { client, channel };
    setView({ ...NOTHING, room });
    const follow = (next: (view: ChannelView) => ChannelView) => (event: SubscriptionEvent) => {
      setView(next);
      latest.current.onEvent?.(event);
    };
    room.on("publication", (event) => {
      follow((view) => ({ ...view, publications: [...view.publications, event].slice(-keep) }))(
        event,
      );
    });
    room.on("state", (event) => {
      follow((view) => ({ ...view, isLive: event.state === "subscribed" }))(event);
    });
    room.on("gap", (event) => follow((view) => ({ ...view, gaps: [...view.gaps, event] }))(event));
    room.on("epoch", (event) => {
      const stays = ({ position }: Publication) => position.offset <= event.keepUpto;
      follow((view) => ({ ...view, publications: view.publications.filter(stays) }))(event);
    });
    room.on("error", (event) => {
      follow((view) => ({ ...view, isLive: false, error: event.error }))(event);
    });
    for (const type of [
      "ephemeral",
      "presence",
      "presenceGap",
      "receipt",
      "recovered",
      "head",
      "lagged",
    ] as const) {
      room.on(type, (event) => latest.current.onEvent?.(event));
    }
    return () => room.unsubscribe();
  }, [client, channel]);
  // Until the effect has run the view is that of another channel.
  const { current } = followed;
  return current?.client === client && current.channel === channel ? view : NOTHING;
}

/** Who is in the channel of a subscription of {@link useChannel} that was made with `presence: true`. */
export function usePresence(room: Subscription | undefined): readonly Present[] {
  const store = useMemo(() => presenceStore(room), [room]);
  return useSyncExternalStore(store.subscribe, store.now, store.now);
}

function presenceStore(room: Subscription | undefined) {
  let members: readonly Present[] = [];
  return {
    now: () => members,
    subscribe: (changed: () => void) => {
      if (!room) return () => {};
      return followPresence(room, (list) => {
        members = list;
        changed();
      });
    },
  };
}
