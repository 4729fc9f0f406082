/** Puts and reads maps, which say what a backup consists of since others were removed. */
import { type BackupMap, decodeMap, encodeMap, signedPartOf } from "../core/backup_map.ts";
import { corruptObject } from "../core/corrupt.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { sidecarKey } from "../core/sidecar_key.ts";
import type { Store } from "../store/store.ts";
import { putOnce } from "./put_once.ts";
import { sha256Hex } from "./sha256.ts";
import { type FindSigner, isSignatureGood } from "./signature.ts";

export interface MapToPut {
  stored: Pick<StoredManifest, "key">;
  map: BackupMap;
  signer: FindSigner | undefined;
}

/** @returns False when another one has put a map of that version. */
export async function putMap(store: Store, { stored, map, signer }: MapToPut): Promise<boolean> {
  const { version } = map;
  const object = sidecarKey({ folder: "maps", manifestKey: stored.key, version });
  return await putOnce(store, object, encodeMap(sign(map, signer), sha256Hex));
}

function sign(map: BackupMap, findSigner: FindSigner | undefined): BackupMap {
  const signer = findSigner?.();
  if (signer === undefined) return map;
  const signed = { ...map, writer: signer.publicKey };
  return { ...signed, signature: signer.sign(signedPartOf(signed)) };
}

/**
 * @param object Its key.
 * @returns Undefined when it is not there.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export async function readMap(store: Store, object: string): Promise<BackupMap | undefined> {
  const bytes = await store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) return undefined;
  const map = decodeMap({ object, bytes }, sha256Hex);
  if (isSignatureGood(signedPartOf(map), map)) return map;
  throw corruptObject(object, "its signature does not fit");
}
