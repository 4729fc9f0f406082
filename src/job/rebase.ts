/** Makes an incremental a base. */
import { rebaseBackup } from "../repo/removal.ts";
import { type BackupRequest, findBackup } from "./catalogue.ts";
import type { JobContext } from "./context.ts";
import { whileAlone } from "./maintenance.ts";

export interface RebaseResult {
  backupId: string;
  /** False: it was a base already. */
  changed: boolean;
}

/** @throws IbackupError LOCKED while another one rearranges; those of `findBackup`. */
export async function rebase(context: JobContext, request: BackupRequest): Promise<RebaseResult> {
  const repository = await context.openRepository();
  return await whileAlone(
    context,
    { store: repository.store, what: "rebase" },
    async ({ signer }) => {
      const { backupId } = (await findBackup(context, request)).stored.manifest;
      return { backupId, changed: await rebaseBackup(repository, backupId, signer) };
    },
  );
}
