/**
 * An outbox in IndexedDB: what was published outlives the page.
 *
 * ```ts
 * const store = await openOutbox("chat");
 * const client = new Client(address, { token, outbox: { store } });
 * for (const send of client.restored) show(send);
 * ```
 *
 * One page at a time holds a store; a second one gets a rejection, and does without.
 *
 * @module
 */
import { SternaError } from "./errors.js";
import { newUuid, uuidText } from "./events.js";
import type { OutboxChange, OutboxStore, StoredOutbox, StoredPublication } from "./outbox-store.js";

/**
 * Opens the outbox called `name`, made if it is missing. Rejects with `OUTBOX_STORE` where there is no
 * IndexedDB, or another page holds it.
 */
export async function openOutbox(name: string): Promise<OutboxStore> {
  const release = await hold(`sterna-outbox-${name}`);
  try {
    const database = await openDatabase(`sterna-outbox-${name}`);
    return new IndexedDbOutbox(database, await load(database), release);
  } catch (error) {
    release();
    throw failure("IndexedDB cannot be used", error);
  }
}

class IndexedDbOutbox implements OutboxStore {
  readonly #database: IDBDatabase;
  readonly #release: () => void;

  constructor(
    database: IDBDatabase,
    readonly stored: StoredOutbox,
    release: () => void,
  ) {
    this.#database = database;
    this.#release = release;
  }

  async write(changes: readonly OutboxChange[]): Promise<void> {
    // Strict: what was saved is on disk before it is sent, as far as the browser can say.
    const transaction = this.#database.transaction([SENDS, FACTS], "readwrite", {
      durability: "strict",
    });
    const sends = transaction.objectStore(SENDS);
    for (const change of changes) {
      if ("insert" in change) {
        const seq = Number(change.insert.clientSeq);
        sends.put({ publish: change.insert, attempted: false }, seq);
        transaction.objectStore(FACTS).put(seq, LAST_SEQ);
      } else if ("remove" in change) {
        sends.delete(change.remove);
      } else {
        // Removed by a later change of the same batch, perhaps; then that one holds.
        const stored = (await done(sends.get(change.attempted))) as StoredPublication | undefined;
        if (stored) sends.put({ ...stored, attempted: true }, change.attempted);
      }
    }
    await committed(transaction);
  }

  async close(): Promise<void> {
    this.#database.close();
    this.#release();
  }
}

async function load(database: IDBDatabase): Promise<StoredOutbox> {
  const transaction = database.transaction([SENDS, FACTS], "readwrite");
  const facts = transaction.objectStore(FACTS);
  const known = (await done(facts.get(CLIENT_ID))) as string | undefined;
  const clientId = known ?? uuidText(newUuid(Date.now()));
  if (!known) facts.put(clientId, CLIENT_ID);
  const lastSeq = ((await done(facts.get(LAST_SEQ))) as number | undefined) ?? 0;
  const publications = (await done(transaction.objectStore(SENDS).getAll())) as StoredPublication[];
  await committed(transaction);
  return { clientId, lastSeq, publications };
}

function openDatabase(name: string): Promise<IDBDatabase> {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore(SENDS);
    opening.result.createObjectStore(FACTS);
  };
  return done(opening);
}

function done<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Takes a lock for as long as the page lives, and gives what releases it. */
function hold(name: string): Promise<() => void> {
  const { locks } = (globalThis.navigator ?? {}) as Partial<Navigator>;
  if (!locks) {
    // Outside browsers nobody shares a store. Pages without locks are those of an insecure origin.
    if (!globalThis.document) return Promise.resolve(() => {});
    return Promise.reject(
      failure("this page has no locks to keep others out: serve it over https"),
    );
  }
  return new Promise((resolve, reject) => {
    locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (!lock) throw failure("another page holds this outbox");
        return new Promise<void>((release) => resolve(release));
      })
      .catch(reject);
  });
}

const failure = (why: string, cause?: unknown) => new SternaError("OUTBOX_STORE", why, { cause });

/** Publications by their sequence numbers, and so in order. */
const SENDS = "sends";
const FACTS = "facts";
const CLIENT_ID = "clientId";
const LAST_SEQ = "lastSeq";
