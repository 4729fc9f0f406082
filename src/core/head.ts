/**
 * Heads: `heads/<disk tag>/<sequence>`, put right after the manifest of the same place. A head whose
 * manifest is not there tells that somebody has removed it; prune removes the head first.
 */
import { z } from "zod";
import { isBackupId } from "./backup_id.ts";
import { corruptObject } from "./corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument, type Sha256Hex } from "./document.ts";
import { MANIFEST_PREFIX } from "./manifest_key.ts";

const KIND: DocumentKind = { name: "head", version: 1 };
export const HEAD_PREFIX = "heads/";

const schema = z.strictObject({
  backupId: z.string().refine(isBackupId, "is no backup id"),
  /** Of the whole object. */
  manifestSha256: z.string().regex(/^[0-9a-f]{64}$/, "is no SHA-256"),
  /** As in the manifest. */
  writer: z.base64().nullable(),
  signature: z.base64().nullable(),
});

export type Head = z.infer<typeof schema>;

/** @param key Of a manifest. */
export function headKeyOf(key: string): string {
  return `${HEAD_PREFIX}${key.slice(MANIFEST_PREFIX.length)}`;
}

/** @param headKey Of a head. */
export function manifestKeyOfHead(headKey: string): string {
  return `${MANIFEST_PREFIX}${headKey.slice(HEAD_PREFIX.length)}`;
}

export function encodeHead(head: Head, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, schema.parse(head), sha256);
}

/** @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version. */
export function decodeHead(stored: { object: string; bytes: Uint8Array }, sha256: Sha256Hex): Head {
  const parsed = schema.safeParse(decodeDocument(KIND, stored, sha256));
  if (parsed.success) return parsed.data;
  throw corruptObject(stored.object, z.prettifyError(parsed.error).replaceAll("\n", " "));
}

/** What the signature of a head signs. */
export function signedTextOf(
  repositoryId: string,
  headKey: string,
  { backupId, manifestSha256 }: Pick<Head, "backupId" | "manifestSha256">,
): Uint8Array {
  return new TextEncoder().encode(
    `ibackup head ${repositoryId} ${headKey} ${backupId} ${manifestSha256}`,
  );
}
