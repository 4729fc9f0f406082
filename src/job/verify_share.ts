/** Verifies a repository, or the share of it whose turn it is. */
import type { JobContext } from "./context.ts";
import { findMissing } from "./newest_seen.ts";
import { type VerifyOptions, type VerifyResult, verify } from "./verify.ts";
import { openVerifyCursor } from "./verify_cursor.ts";
import { findOwnWriter } from "./writer_key.ts";

/**
 * @param asked `share` of all bytes, above 0 and at most 1; undefined: none is read. `backups` as
 *   `verify` takes them.
 * @throws As `verify` does.
 */
export async function verifyShare(
  context: JobContext,
  { backups, share }: { backups?: readonly string[] | undefined; share: number | undefined },
): Promise<VerifyResult> {
  const { progress, signal } = context;
  const repository = await context.openRepository();
  const missingOf: VerifyOptions["missingOf"] = (found) =>
    findMissing(context, repository.id, found);
  const ownWriter = findOwnWriter(context);
  const common = { repository, backups, missingOf, ownWriter, progress, signal };
  if (share === undefined) return await verify({ ...common, data: "none" });
  if (share === 1) return await verify({ ...common, data: "all" });
  const cursor = openVerifyCursor(context, repository.id);
  const result = await verify({ ...common, data: { share, last: cursor.last } });
  await context.freezeGate.write(() => cursor.save(result.last));
  return result;
}
