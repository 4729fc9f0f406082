/** Whether a flush did what it had to: what it committed, what that holds, and what it says of it. */
import type { Buffer } from "node:buffer";
import type { Manifest } from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { clearDetails } from "../support/backups.ts";
import { firstDifferenceOf, type Recorded } from "./disk.ts";
import { type Doubt, digestOfBytes, type ModelRepository } from "./repository.ts";
import type { World } from "./world.ts";

/** What somebody sees who ran a flush. */
export type Ending =
  | { kind: "committed"; backupId: string }
  | { kind: "failed"; error: unknown }
  /** Nobody knows: it was killed. */
  | { kind: "killed" };

export interface FlushAsked {
  base: boolean;
  scan: boolean;
  /** Codes of errors that are no surprise. */
  mayFail: readonly string[];
}

export interface Flushed extends Recorded {
  asked: FlushAsked;
  ending: Ending;
  /** What the model knew when it began. */
  doubt: Doubt;
}

/** Finds the backup that the flush committed, if it did, and holds it against the shadow. */
export async function judge(
  world: World,
  repository: ModelRepository,
  flush: Flushed,
): Promise<Manifest | undefined> {
  const { ending, asked, changes } = flush;
  if (ending.kind === "failed") expectKnown(ending.error, asked.mayFail);
  const found = await repository.newBackups();
  if (found.length > 1) throw new Error(`one flush committed ${found.length} backups`);
  const manifest = found[0]?.manifest;
  if (ending.kind === "committed" && manifest?.backupId !== ending.backupId) {
    throw new Error(`${ending.backupId} was committed, and ${manifest?.backupId} is there`);
  }
  if (manifest === undefined) {
    world.count(`= ${ending.kind}, nothing committed`);
    return undefined;
  }
  world.count(`= ${ending.kind}: ${manifest.gapCheck}, ${manifest.consistency}`);
  const content = await repository.contentOf(manifest.backupId);
  expectContent(content, flush, manifest);
  expectVerdict(world, repository, { manifest, flush });
  if (changes.length === 0 && world.tracking === "on" && manifest.consistency === "fuzzy") {
    throw new Error("nothing was written meanwhile, and yet it is fuzzy");
  }
  repository.digests.set(manifest.backupId, digestOfBytes(content));
  const isTracked = world.tracking === "on" && clearDetails(manifest).tracking !== null;
  repository.doubt = {
    must: undefined,
    may: isTracked ? undefined : "the newest backup was taken untracked",
    written: changes.length > 0,
  };
  if (world.tracking === "off" && changes.length > 0) {
    repository.doubt.must = "written untracked during the flush";
  }
  return manifest;
}

function expectKnown(error: unknown, codes: readonly string[]): void {
  if (error instanceof IbackupError && codes.includes(error.code)) return;
  throw error;
}

/** A point in time has to be one; of any other backup each byte has to be of some moment. */
function expectContent(content: Buffer, { before, changes }: Recorded, manifest: Manifest): void {
  const { backupId, consistency, gapCheck } = manifest;
  const what = `${backupId} (${consistency}, ${gapCheck}: ${clearDetails(manifest).gapReason})`;
  const fault =
    consistency === "fuzzy"
      ? mixFault(content, before, changes)
      : pointFault(content, before, changes);
  if (fault !== undefined) throw new Error(`${what}: ${fault}`);
}

function pointFault(
  content: Buffer,
  before: Buffer,
  changes: Recorded["changes"],
): string | undefined {
  const first = firstDifferenceOf(content, before);
  if (first < 0) return undefined;
  const state = Uint8Array.from(before);
  for (const { offset, bytes } of changes) {
    state.set(bytes, offset);
    if (content.equals(state)) return undefined;
  }
  return `it is not the disk at any of ${changes.length + 1} instants; byte ${first} differs from the first`;
}

function mixFault(
  content: Buffer,
  before: Buffer,
  changes: Recorded["changes"],
): string | undefined {
  if (content.length !== before.length) return `it has ${content.length} bytes`;
  const untouched = Uint8Array.from(content);
  for (const { offset, bytes } of changes) {
    untouched.set(before.subarray(offset, offset + bytes.length), offset);
  }
  const difference = firstDifferenceOf(untouched, before);
  if (difference >= 0) return `byte ${difference} differs, which nobody wrote meanwhile`;
  const explained = new Uint8Array(content.length);
  for (const { offset, bytes } of changes) {
    for (let i = 0; i < bytes.length; i++) {
      const at = offset + i;
      if (content[at] === bytes[i] || content[at] === before[at]) explained[at] = 1;
    }
  }
  for (const { offset, bytes } of changes) {
    const at = explained.subarray(offset, offset + bytes.length).indexOf(0);
    if (at >= 0) return `byte ${offset + at} is of no moment of the flush`;
  }
  return undefined;
}

function expectVerdict(
  world: World,
  repository: ModelRepository,
  { manifest, flush }: { manifest: Manifest; flush: Flushed },
): void {
  const { gapCheck: verdict } = manifest;
  const reason = clearDetails(manifest).gapReason;
  const { asked, doubt } = flush;
  const { must, may } = doubt;
  const isFirst = repository.digests.size === 0;
  if (isFirst || asked.base) {
    if (verdict !== "base") throw new Error(`${verdict} instead of a base`);
    return;
  }
  if (verdict === "base") throw new Error(`a base that nobody asked for: ${reason}`);
  if (verdict === "trusted" && asked.scan) throw new Error("trusted, but a scan was asked for");
  if (verdict === "trusted" && must !== undefined) throw new Error(`trusted, although: ${must}`);
  const sound = world.tracking === "on" && !asked.scan && must === undefined && may === undefined;
  if (sound && verdict !== "trusted") throw new Error(`not trusted: ${reason}`);
}
