/** Chance that can be had again: a test prints its seed, and IBACKUP_SEED sets it. */
import { env, stderr } from "node:process";

export interface Random {
  readonly seed: number;
  /** An integer of [0, end). */
  below(end: number): number;
  bytes(length: number): Uint8Array;
  /** Another one, for what runs at the same time: how much it draws changes nothing here. */
  fork(): Random;
}

/** @param name Of the test, for the line that says the seed. */
export function seededRandom(name: string, fixed?: number): Random {
  const given = env["IBACKUP_SEED"];
  const seed = fixed ?? (given === undefined ? Date.now() % 0x1_0000_0000 : Number(given));
  stderr.write(`${name}: IBACKUP_SEED=${seed}\n`);
  return randomFrom(seed);
}

function randomFrom(seed: number): Random {
  const next = mulberry32(seed);
  return {
    seed,
    below: (end) => Math.floor((next() / 0x1_0000_0000) * end),
    bytes: (length) => {
      const words = new Uint32Array(Math.ceil(length / 4));
      for (let i = 0; i < words.length; i++) words[i] = next();
      return new Uint8Array(words.buffer, 0, length);
    },
    fork: () => randomFrom(next()),
  };
}

/** Tommy Ettinger's generator: 32 bits of state, enough to place test writes. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}
