/** What completion offers: quickly, or not at all. */
import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatBytes, formatInstant } from "../core/units.ts";
import { blockDevices } from "../disk/device_name.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import type { JobContext } from "./context.ts";

export interface Offered {
  value: string;
  /** One line. */
  description: string;
}

/** Nobody waits longer for a Tab. */
const WAIT_MS = 1500;
/** More fill a screen, and whoever looks for an old one types its beginning: it is a date. */
const BACKUPS_MAX = 1000;

/** Block devices of this machine, with their sizes. */
export function devicesHere(): Offered[] {
  return blockDevices().map(({ path, sizeBytes }) => ({
    value: path,
    description: formatBytes(sizeBytes),
  }));
}

/**
 * Backups of the repository, newest first; where listing takes too long, those of the last list.
 *
 * @param list As `listBackups` gives them.
 */
export async function knownBackups(
  context: JobContext,
  list: () => Promise<readonly CatalogueEntry[]>,
): Promise<Offered[]> {
  const { url } = await context.openStore();
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, WAIT_MS));
  const found = list().then(offersOf, () => undefined);
  return (await Promise.race([found, late])) ?? readNote(context, url);
}

/** Keeps the catalogue for the next completion; where that is impossible, there is none. */
export async function noteBackups(
  context: JobContext,
  backups: readonly CatalogueEntry[],
): Promise<void> {
  const { url } = await context.openStore();
  try {
    const text = JSON.stringify(offersOf(backups));
    await context.freezeGate.write(() => {
      const path = notePath(context, url);
      writeFileSync(`${path}.new`, text, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    });
  } catch {
    // Not root, or a full disk: the list itself is what was asked for.
  }
}

function offersOf(backups: readonly CatalogueEntry[]): Offered[] {
  return backups
    .slice(-BACKUPS_MAX)
    .reverse()
    .map(({ backupId, vmId, disk, type, capturedAt }) => ({
      value: backupId,
      description: `${vmId} ${disk}, ${type}, ${formatInstant(new Date(capturedAt))}`,
    }));
}

function readNote(context: JobContext, url: string): Offered[] {
  try {
    return JSON.parse(readFileSync(notePath(context, url), "utf8")) as Offered[];
  } catch {
    return [];
  }
}

function notePath(context: JobContext, url: string): string {
  const name = createHash("sha256").update(url).digest("hex").slice(0, 16);
  return join(context.cacheDir(), `backups-${name}`);
}
