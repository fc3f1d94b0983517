// What close codes tell a client, known or not: the rule of proto/src/reason.rs.
import {
  CLOSE_WEB_SOCKET_PROTOCOL,
  CLOSE_WEB_SOCKET_TEXT,
  CLOSE_WEB_SOCKET_TOO_BIG,
} from "./codes.js";

/**
 * Whether the client stays away until the application wants it to connect again. Codes outside the
 * table's ranges, a transport's own, mean a broken connection: those are not terminal.
 */
export function isTerminal(code: number): boolean {
  return (
    code === CLOSE_WEB_SOCKET_PROTOCOL ||
    code === CLOSE_WEB_SOCKET_TEXT ||
    code === CLOSE_WEB_SOCKET_TOO_BIG ||
    (code >= 3500 && code < 4000) ||
    (code >= 4500 && code < 5000)
  );
}
