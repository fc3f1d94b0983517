// Asking the node, and what its refusals mean. The key travels in a header and nowhere else.

/** Why a question was not answered, as far as a page acts on it. */
export type Trouble =
  /** Nobody answered, or a proxy did in the node's place. */
  | "unreachable"
  | "unauthorized"
  | "forbidden"
  /** The node is of a release that does not know the question. */
  | "unknown"
  /** What was asked for is not there. */
  | "missing"
  | "refused";

/** How long an answer may take, in milliseconds. */
const PATIENCE = 8000;

export class Failure extends Error {
  constructor(
    readonly trouble: Trouble,
    message: string,
    /** All that the node said. */
    readonly said: Record<string, unknown> = {},
  ) {
    super(message);
  }

  /** A field of the refusal that is text, as in `edge`. */
  text(name: string): string | undefined {
    const inner = this.said.error as Record<string, unknown> | undefined;
    const value = this.said[name] ?? inner?.[name];
    return typeof value === "string" ? value : undefined;
  }
}

/** Whether anybody answers, for whoever asks a page to say so. */
export interface Line {
  /** The node said something, be it no. */
  answered(): void;
  lost(failure: Failure): void;
  /** The key is void. */
  refused(failure: Failure): void;
}

export class Api {
  readonly #key: string;
  readonly #line: Line | undefined;

  constructor(key: string, line?: Line) {
    this.#key = key;
    this.#line = line;
  }

  get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.#ask(path, {}, signal);
  }

  post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const headers = { "Content-Type": "application/json" };
    return this.#ask(path, { method: "POST", body: JSON.stringify(body), headers }, signal);
  }

  async #ask<T>(path: string, how: RequestInit, signal?: AbortSignal): Promise<T> {
    try {
      const answer = await ask<T>(path, this.#key, how, signal);
      this.#line?.answered();
      return answer;
    } catch (error) {
      // Whoever left hears nothing.
      if (!(error instanceof Failure)) throw error;
      if (error.trouble === "unreachable") this.#line?.lost(error);
      else this.#line?.answered();
      if (error.trouble === "unauthorized") this.#line?.refused(error);
      throw error;
    }
  }
}

async function ask<T>(
  path: string,
  key: string,
  how: RequestInit,
  signal: AbortSignal | undefined,
): Promise<T> {
  const late = AbortSignal.timeout(PATIENCE);
  let status: number;
  let said: Record<string, unknown>;
  try {
    // Relative, so that a proxy may put the node under a path of its own.
    const answer = await fetch(`../api/v1/${path}`, {
      ...how,
      headers: { ...how.headers, Authorization: `Bearer ${key}` },
      credentials: "omit",
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    status = answer.status;
    said = await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(
      "unreachable",
      late.aborted ? "the node did not answer in time" : "the node cannot be reached",
    );
  }
  if (status < 400 && said?.result !== undefined) return said.result as T;
  throw refusal(status, said ?? {});
}

function refusal(status: number, said: Record<string, unknown>): Failure {
  const error = said.error as { name?: string; message?: string } | string | undefined;
  const message = typeof error === "string" ? error : error?.message;
  const isPath = typeof error === "object" && error?.name === "BAD_REQUEST";
  const trouble = ((): Trouble => {
    if (error === undefined || status === 502 || status === 504) return "unreachable";
    if (status === 401) return "unauthorized";
    if (status === 403) return "forbidden";
    if ((status === 404 && isPath) || status === 405) return "unknown";
    return status === 404 ? "missing" : "refused";
  })();
  return new Failure(trouble, message ?? `the node answered with ${status}`, said);
}
