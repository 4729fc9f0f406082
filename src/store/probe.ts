import { randomBytes } from "node:crypto";
import { IbackupError, messageOf } from "../errors.ts";
import type { StoreProbe } from "./store.ts";

export type ConditionalPut = StoreProbe["conditionalPut"];

/** What a store lets the probe do, with nothing in between that hides what the server answers. */
export interface ProbeSteps {
  put(key: string, body: Uint8Array): Promise<void>;
  get(key: string): Promise<Uint8Array | undefined>;
  delete(key: string): Promise<void>;
  /** Puts `key`, which exists, on the condition that it does not exist. */
  putOverExisting(key: string, body: Uint8Array): Promise<ConditionalPut>;
  /** What can be asked without trying; `conditionalPut` is known by then. */
  facts(probe: StoreProbe): Promise<Pick<StoreProbe, "fence" | "versioning" | "objectLock">>;
}

/** The probe of a store of which nothing can be tried. */
export function failedProbe(problem: string): StoreProbe {
  return { ...UNKNOWN, problems: [problem] };
}

const UNKNOWN: Omit<StoreProbe, "problems"> = {
  readable: false,
  writable: false,
  conditionalPut: "unsupported",
  fence: "none",
  versioning: undefined,
  objectLock: undefined,
};

/** Writes, reads back, overwrites on condition, removes. Never throws for a failure of the store. */
export async function runProbe(steps: ProbeSteps): Promise<StoreProbe> {
  const key = `probe-${randomBytes(8).toString("hex")}`;
  const body = new Uint8Array(randomBytes(64));
  const probe: StoreProbe = { ...UNKNOWN, problems: [] };
  const attempt = async (step: () => Promise<void>) => {
    try {
      await step();
    } catch (error) {
      probe.problems.push(sentenceOf(error));
    }
  };
  await attempt(async () => {
    await steps.put(key, body);
    probe.writable = true;
  });
  await attempt(async () => {
    const read = await steps.get(key);
    probe.readable = true;
    if (probe.writable) checkReadBack(probe, read, body);
  });
  if (!probe.writable) return probe;
  await attempt(async () => {
    probe.conditionalPut = await steps.putOverExisting(key, body);
  });
  await attempt(async () => {
    Object.assign(probe, await steps.facts(probe));
  });
  await attempt(() => steps.delete(key));
  return probe;
}

function checkReadBack(probe: StoreProbe, read: Uint8Array | undefined, body: Uint8Array): void {
  const same = read?.length === body.length && read.every((byte, index) => byte === body[index]);
  if (same) return;
  probe.readable = false;
  probe.problems.push("An object that was written a moment ago does not read back the same.");
}

/** What failed and why, as one sentence. */
export function sentenceOf(error: unknown): string {
  if (error instanceof IbackupError) return `${error.message}: ${error.why}.`;
  return `${messageOf(error)}.`;
}
