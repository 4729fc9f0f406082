/**
 * What is noted of each attachment: which are this runtime folder's, and what the kernel had
 * counted of the disk by then.
 *
 * A collect takes the bits out of the kernel for the pending sets of one runtime folder. Another
 * one, such as that of a container with a /run of its own, would take them away from these sets
 * without their knowing: only the folder that a disk was attached from collects.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writeCountersSchema } from "../core/write_counters.ts";
import { assert, systemCodeOf } from "../errors.ts";
import type { Session, Slot } from "./tracker.ts";

const count = z.int().min(0);

const noteSchema = z.strictObject({
  /** The tracked disk or partition. */
  device: z.strictObject({ major: count, minor: count }),
  /** What to hold later counts against; null while they tell nothing. */
  since: z
    .strictObject({
      kernel: writeCountersSchema,
      hooks: z.strictObject({ sectorsIssued: count, sectorsCompleted: count }),
      isExact: z.boolean(),
    })
    .nullable(),
  /** The most sectors found since then that no hook saw, and whose end no hook saw. */
  unseen: count,
  ends: count,
  /** Sectors that no hook saw before that. */
  unseenBefore: count,
  /** The taints with which `track stop` found it; null while it goes on, or was cut off. */
  stoppedWith: z.record(z.string(), z.number()).nullable(),
});

export type AttachmentNote = z.infer<typeof noteSchema>;
type Attached = Pick<Slot, "attachment">;

/** Names an attachment of a disk in a tracking session. */
export function sessionNameOf(session: Session, { attachment }: Attached): string {
  return `${session.id}-${attachment}`;
}

/** The other way round. */
export function attachmentOf(sessionName: string): Attached {
  return { attachment: sessionName.slice(sessionName.lastIndexOf("-") + 1) };
}

/** Where the blocks are that were collected lately from an attachment; see pending.ts. */
export function recentFileOf(runtimeFolder: string, { attachment }: Attached): string {
  return join(runtimeFolder, "recent", attachment);
}

/** To be called when a disk has been attached, and when something has to be added. */
export function writeNote(
  runtimeFolder: string,
  { attachment }: Attached,
  note: AttachmentNote,
): void {
  assert(/^[0-9a-f]{16}$/.test(attachment), "an attachment is 16 hex digits");
  const folder = join(runtimeFolder, "attachments");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = join(folder, `.${attachment}`);
  writeFileSync(temporary, JSON.stringify(note), { mode: 0o600 });
  renameSync(temporary, join(folder, attachment));
}

/** Undefined when the attachment is not this folder's, or the note makes no sense. */
export function readNote(
  runtimeFolder: string,
  { attachment }: Attached,
): AttachmentNote | undefined {
  if (!/^[0-9a-f]{16}$/.test(attachment)) return undefined;
  try {
    const text = readFileSync(join(runtimeFolder, "attachments", attachment), "utf8");
    return noteSchema.parse(JSON.parse(text));
  } catch (error) {
    const isDamaged = error instanceof SyntaxError || error instanceof z.ZodError;
    if (isDamaged || systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
