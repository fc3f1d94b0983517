// The way of a session through networks: "Wi-Fi → cellular, 84 ms, 0 lost".
import { element } from "../../../shared/element.js";
import { clock, exact, milliseconds, transport } from "../format.js";
import type { Path } from "../model.js";

const KINDS: Record<string, string> = {
  connected: "connected",
  path_changed: "moved, on the same connection",
  resumed: "resumed, on a new connection",
  detached: "lost its connection",
};

/** As nodes name them, which have it from clients. */
const NETWORKS: Record<string, string> = {
  wifi: "Wi-Fi",
  cellular: "cellular",
  ethernet: "Ethernet",
  other: "another network",
};

/** What a client is connected through, in words; nothing when it has not said so. */
export const networkName = (network: string | null | undefined): string =>
  network ? (NETWORKS[network] ?? network) : "";

/** One step in a line, as people say it. */
export function pathText(path: Path): string {
  const { gap_ms, lost, kind } = path;
  const parts = [ends(path) ?? KINDS[kind ?? ""] ?? kind ?? "–"];
  if (gap_ms !== null && gap_ms !== undefined) parts.push(milliseconds(gap_ms));
  if (lost !== null && lost !== undefined) parts.push(`${exact(lost)}\u00a0lost`);
  return parts.join(", ");
}

/** From where to where, in the best words there are. */
function ends({ from, to, network_from, network_to }: Path): string | undefined {
  if (network_from && network_to && network_from !== network_to)
    return `${networkName(network_from)} → ${networkName(network_to)}`;
  return from && to && from !== to ? `${from} → ${to}` : undefined;
}

/** Newest first. */
export function pathList(list: HTMLElement, paths: readonly Path[]): void {
  const said = JSON.stringify(paths);
  if (list.dataset.said === said) return;
  list.dataset.said = said;
  const items = [...paths].reverse().map((path) => {
    const kind = path.kind ?? "";
    const title = pathText(path);
    const more = [
      KINDS[kind] ?? kind,
      path.transport ? transport(path.transport) : "",
      networkName(path.network_to ?? path.network_from),
      addresses(path),
    ];
    const item = element(
      "li",
      {},
      element("b", {}, title),
      element(
        "span",
        { className: "faint" },
        more.filter((part) => part && !title.includes(part)).join(" · "),
      ),
      element("time", {}, path.unix_ms ? clock(path.unix_ms) : ""),
    );
    item.dataset.kind = kind;
    item.classList.toggle("loss", (path.lost ?? 0) > 0);
    return item;
  });
  list.replaceChildren(...items);
}

const addresses = ({ from, to }: Path): string =>
  [from, to].filter((it, at, all) => it && all.indexOf(it) === at).join(" → ");
