// Locks of the platform as this package uses them: held for as long as somebody lives, so that others hear of
// his end.

/** Of the platform's locks, what is needed. */
export type Locks = Pick<LockManager, "query" | "request">;

/** Takes a lock, and keeps it until `release`. `held` is settled once it is taken. */
export function hold(
  locks: Locks,
  name: string,
  mode: LockMode,
): { held: Promise<void>; release: () => void } {
  let release = () => {};
  const end = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held = new Promise<void>((resolve, reject) => {
    const whileHeld = () => {
      resolve();
      return end;
    };
    locks.request(name, { mode }, whileHeld).catch(reject);
  });
  // Whoever needs it hears of it.
  held.catch(() => {});
  return { held, release };
}
