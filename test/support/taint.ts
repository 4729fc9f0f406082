/** Raises a taint in the counters that are pinned, as the hooks do for what they cannot mark. */
import { Buffer } from "node:buffer";
import { run } from "./machine.ts";

const FIELD_BYTES = 8;
/** Fields of `struct counters` in bpf/tracker.h. */
const TAINTS = { "ranges not marked": 8, "passthrough writes": 9, "updates failed": 10 } as const;

export type RaisedTaint = keyof typeof TAINTS;
export const RAISED_TAINTS = Object.keys(TAINTS) as RaisedTaint[];

export function raiseTaint(pinFolder: string, slot: number, taint: RaisedTaint): void {
  const map = ["map", "lookup", "pinned", `${pinFolder}/map_counters`, "key", ...key(slot)];
  const { values } = JSON.parse(run("bpftool", "-j", ...map)) as {
    values: { value: string[] }[];
  };
  const perCpu = values.map(({ value }) => Buffer.from(value.map(Number)));
  const counters = Buffer.alloc(perCpu[0]?.length ?? 0);
  for (let at = 0; at < counters.length; at += FIELD_BYTES) {
    const sum = perCpu.reduce((total, bytes) => total + bytes.readBigUInt64LE(at), 0n);
    // bpftool gives all CPUs one value: none of the sums may shrink by it.
    const share = (sum + BigInt(perCpu.length) - 1n) / BigInt(perCpu.length);
    counters.writeBigUInt64LE(share + (at / FIELD_BYTES === TAINTS[taint] ? 1n : 0n), at);
  }
  const value = [...counters].map((byte) => byte.toString(16).padStart(2, "0"));
  const update = ["map", "update", "pinned", `${pinFolder}/map_counters`, "key", ...key(slot)];
  run("bpftool", ...update, "value", "hex", ...value);
}

/** Of four bytes, little-endian. */
function key(slot: number): string[] {
  return ["hex", slot.toString(16).padStart(2, "0"), "00", "00", "00"];
}
