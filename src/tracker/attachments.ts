/**
 * Which attachments are this runtime folder's.
 *
 * A collect takes the bits out of the kernel for the pending sets of one runtime folder. Another
 * one, such as that of a container with a /run of its own, would take them away from these sets
 * without their knowing: only the folder that a disk was attached from collects.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Slot } from "./tracker.ts";

/** To be called when a disk has been attached. */
export function noteAttachment(runtimeFolder: string, { attachment }: Slot): void {
  mkdirSync(folderIn(runtimeFolder), { recursive: true, mode: 0o700 });
  writeFileSync(join(folderIn(runtimeFolder), attachment), "", { mode: 0o600 });
}

export function isNotedAttachment(runtimeFolder: string, { attachment }: Slot): boolean {
  return existsSync(join(folderIn(runtimeFolder), attachment));
}

function folderIn(runtimeFolder: string): string {
  return join(runtimeFolder, "attachments");
}
