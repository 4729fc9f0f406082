/** What a flush leaves behind after its manifest, so that a removal of the backup is noticed. */
import type { StoredManifest } from "../core/manifest.ts";
import { messageOf } from "../errors.ts";
import { putHead } from "../repo/heads.ts";
import type { Repository } from "../repo/repository.ts";
import type { Signer } from "../repo/signature.ts";
import type { JobContext } from "./context.ts";
import { hasSeen, noteSeen } from "./newest_seen.ts";

export interface Committed {
  repository: Repository;
  stored: StoredManifest;
  parent: StoredManifest | undefined;
  signer: Signer | undefined;
}

/** Never fails: the backup exists, and a later flush makes up for what is missing. */
export async function leaveTraces(context: JobContext, committed: Committed): Promise<void> {
  const { repository, stored, parent, signer } = committed;
  try {
    // Between the manifest of the parent and what follows here, this machine may have stopped.
    const isOurs = parent !== undefined && parent.manifest.writer === signer?.publicKey;
    if (isOurs && !hasSeen(context, repository.id, parent)) {
      await putHead(repository, parent, signer);
    }
    await putHead(repository, stored, signer);
    await context.freezeGate.write(() => noteSeen(context, repository.id, stored));
  } catch (error) {
    const what = `the backup is stored, but its removal would not be noticed: ${messageOf(error)}`;
    context.progress.message(what);
  }
}
