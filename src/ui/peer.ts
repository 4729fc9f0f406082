/**
 * Who is at the other end of a connection on the loopback address.
 *
 * A browser sends a cookie to every port of a host. So whoever listens on another port of this machine
 * may be sent ours, and could use it: unless we look whose program asks.
 */
import { readFileSync } from "node:fs";

const ESTABLISHED = "01";
/** While connections come and go, the kernel may leave one out of its table. */
const LOOKS = 3;

/** @returns Undefined when there is no such connection, or it has ended. */
export function peerUid(peerPort: number, ownPort: number): number | undefined {
  for (let look = 0; look < LOOKS; look++) {
    const uid = uidIn(readFileSync("/proc/net/tcp", "utf8"), { peerPort, ownPort });
    if (uid !== undefined) return uid;
  }
  return undefined;
}

/**
 * @param table /proc/net/tcp, as proc_net_tcp of the kernel's documentation describes it. Pure.
 */
export function uidIn(
  table: string,
  { peerPort, ownPort }: { peerPort: number; ownPort: number },
): number | undefined {
  const [local, remote] = [endOf(peerPort), endOf(ownPort)];
  for (const line of table.split("\n")) {
    const [, from, to, state, , , , uid] = line.trim().split(/\s+/);
    // What its owner has closed belongs to user 0.
    if (from === local && to === remote && state === ESTABLISHED) return Number(uid);
  }
  return undefined;
}

/** 127.0.0.1 and the port, as the kernel writes them on a little-endian machine. */
function endOf(port: number): string {
  return `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
}
