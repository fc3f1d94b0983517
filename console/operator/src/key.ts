// The key of whoever looks: kept for this tab, never in an address.

/** What a key opens. */
export type Role = "operator" | "observer";

const PLACE = "sterna.console.key";

export const keptKey = (): string => sessionStorage.getItem(PLACE) ?? "";
export const keep = (key: string): void => sessionStorage.setItem(PLACE, key);
export const forget = (): void => sessionStorage.removeItem(PLACE);

/**
 * What a key says it opens, so that nobody is shown a button that will be refused; the node decides. An
 * API key is no token and opens everything.
 */
export function roleOf(key: string): Role {
  const [, claims] = key.split(".");
  if (!claims) return "operator";
  try {
    const said = JSON.parse(atob(claims.replace(/-/g, "+").replace(/_/g, "/")));
    return said.role === "operator" ? "operator" : "observer";
  } catch {
    return "operator";
  }
}
