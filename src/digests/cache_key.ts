import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { toHex } from "../core/hex.ts";
import { KEY_BYTES } from "./digester.ts";
import type { CacheFiles } from "./files.ts";

const CHECK_BYTES = 32;

/**
 * The secret of a cache folder; made when there is none, or what is there is damaged. All files
 * of another key are worthless then, which costs one comparison with the repository each.
 *
 * @param random So many bytes that nobody can guess.
 * @throws What the system says.
 */
export async function readCacheKey(
  folder: string,
  files: CacheFiles,
  random: (bytes: number) => Uint8Array,
): Promise<Uint8Array> {
  const path = `${folder}/key`;
  const found = readKey(path, files);
  if (found) return found;
  const key = random(KEY_BYTES);
  const draft = `${path}.${toHex(random(8))}`;
  const file = files.create(draft);
  try {
    file.writeAt(Buffer.concat([key, checkOf(key)]), 0);
    await file.sync();
  } finally {
    file.close();
  }
  await files.replace(draft, path);
  return key;
}

function readKey(path: string, files: CacheFiles): Uint8Array | undefined {
  const file = files.open(path);
  if (!file) return undefined;
  try {
    const bytes = new Uint8Array(KEY_BYTES + CHECK_BYTES);
    file.readAt(bytes, 0);
    const key = bytes.subarray(0, KEY_BYTES);
    return Buffer.compare(checkOf(key), bytes.subarray(KEY_BYTES)) === 0 ? key : undefined;
  } finally {
    file.close();
  }
}

/** A key of zeroes, as a power cut may leave it, would be one that everybody knows. */
function checkOf(key: Uint8Array): Uint8Array {
  return createHash("sha256").update("ibackup cache key").update(key).digest();
}
