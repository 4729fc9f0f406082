/** Makes a repository. */
import { createRepository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";

export interface InitResult {
  repositoryId: string;
  url: string;
  encryption: "none";
}

/** @throws IbackupError REPOSITORY_EXISTS, and those of the store. */
export async function initRepository(context: JobContext): Promise<InitResult> {
  const store = await context.openStore();
  const id = uuidOf(context.random(16));
  const repository = await createRepository(store, { id, createdAt: context.clock.now() });
  return { repositoryId: repository.id, url: store.url, encryption: "none" };
}

/** A UUID of version 4 (RFC 9562). */
function uuidOf(random: Uint8Array): string {
  const bytes = Uint8Array.from(random);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
