// Where to connect: addresses as applications and nodes write them. Pure.
import { badOption } from "../errors.js";
import { WEBSOCKET_PATH } from "../wire/codes.js";

export interface Target {
  readonly host: string;
  readonly port: string;
}

/** `sterna://host` (port 4443), `https://host` or `wss://host` (port 443), each with or without a port. */
export function parseTarget(address: string): Target {
  const found = /^(sterna|https|wss):\/\/(\[[\da-f:.]+\]|[^/:?#\s]+)(?::(\d+))?\/?$/i.exec(address);
  if (!found) {
    throw badOption(`"${address}" is no address`);
  }
  const [, scheme, host, port] = found as unknown as [string, string, string, string?];
  return { host, port: port ?? (scheme.toLowerCase() === "sterna" ? "4443" : "443") };
}

/** The address to open, `scheme` being `wss` or `https`. */
export const urlOf = ({ host, port }: Target, scheme: string): string =>
  `${scheme}://${host}:${port}${WEBSOCKET_PATH}`;

/**
 * Where a node that leaves sends its clients. A browser checks the certificate against the host that it
 * dials and takes no other name, so an address without a name is of use only to those who dial addresses
 * already; everybody else goes `home` again, where a balancer stands.
 */
export function successorOf(home: Target, successor: string): Target {
  const found = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(successor);
  if (!found) return home;
  const [, host, port] = found as unknown as [string, string, string];
  return isAddress(host) && !isAddress(home.host) ? home : { host, port };
}

const isAddress = (host: string): boolean => /^(\[.*\]|[\d.]+|localhost)$/i.test(host);
