/**
 * Who is at the other end of a connection on the loopback address.
 *
 * A browser sends a cookie to every port of a host. So whoever listens on another port of this machine
 * may be sent ours, and could use it: unless we look whose program asks.
 */
import { readFileSync } from "node:fs";
import { LOOPBACK, type WebPeer } from "../runtime/web_server.ts";

const ESTABLISHED = "01";
/** While connections come and go, the kernel may leave one out of its table. */
const LOOKS = 3;

/**
 * @param ownPort Of 127.0.0.1.
 * @returns Undefined when there is no such connection, or it has ended.
 */
export function peerUid(peer: WebPeer, ownPort: number): number | undefined {
  for (let look = 0; look < LOOKS; look++) {
    const uid = uidIn(readFileSync("/proc/net/tcp", "utf8"), { peer, ownPort });
    if (uid !== undefined) return uid;
  }
  return undefined;
}

/**
 * The address counts as well as the port: all of 127.0.0.0/8 is this machine, and each of its addresses
 * has ports of its own.
 *
 * @param table /proc/net/tcp, as proc_net_tcp of the kernel's documentation describes it. Pure.
 */
export function uidIn(
  table: string,
  { peer, ownPort }: { peer: WebPeer; ownPort: number },
): number | undefined {
  const [local, remote] = [endOf(peer), endOf({ address: LOOPBACK, port: ownPort })];
  for (const line of table.split("\n")) {
    const [, from, to, state, , , , uid] = line.trim().split(/\s+/);
    // What its owner has closed belongs to user 0.
    if (from === local && to === remote && state === ESTABLISHED) return Number(uid);
  }
  return undefined;
}

/** As the kernel writes an address and a port on a little-endian machine. */
function endOf({ address, port }: WebPeer): string {
  const hex = (value: number, digits: number): string =>
    value.toString(16).toUpperCase().padStart(digits, "0");
  const bytes = address.split(".").reverse();
  return `${bytes.map((byte) => hex(Number(byte), 2)).join("")}:${hex(port, 4)}`;
}
