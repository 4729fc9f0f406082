/** A repository of the model, and what each of its backups must hold. */
import type { Buffer } from "node:buffer";
import { createHash, randomUUID } from "node:crypto";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { createRepository, openRepository, type Repository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { contentOf } from "../support/content.ts";

/** What the next flush has to answer, as far as the model knows better. */
export interface Doubt {
  /** Why it must not trust the dirty bitmap: something was written that the tracker did not see. */
  must: string | undefined;
  /** Why it need not trust it. */
  may: string | undefined;
  /** True when something was written since the newest backup. */
  written: boolean;
}

export class ModelRepository {
  readonly url: string;
  readonly #store: Store;
  /** By backup: the digest of what it holds. */
  readonly digests = new Map<string, string>();
  /**
   * "left": by a flush that could not give it back. "strange": and what told that its holder is dead,
   * the lock of the disk, is another one now. Then a flush has to wait until it expires.
   */
  lease: "none" | "left" | "strange" = "none";
  doubt: Doubt = { must: undefined, may: undefined, written: false };

  private constructor(url: string, store: Store) {
    this.url = url;
    this.#store = store;
  }

  static async create(url: string): Promise<ModelRepository> {
    const store = await openStore(url);
    await createRepository(store, { id: randomUUID(), createdAt: new Date() });
    return new ModelRepository(url, store);
  }

  /** As the next process would open it. */
  async open(wrap: (store: Store) => Store = (store) => store): Promise<Repository> {
    return await openRepository(wrap(await openStore(this.url)));
  }

  /** Backups that are not known yet. None of those that are may be gone. */
  async newBackups(): Promise<StoredManifest[]> {
    const all = await (await openRepository(this.#store)).manifests();
    const found = new Set(all.map(({ manifest }) => manifest.backupId));
    const gone = [...this.digests.keys()].filter((backupId) => !found.has(backupId));
    if (gone.length > 0) throw new Error(`backups are gone: ${gone.join(", ")}`);
    return all.filter(({ manifest }) => !this.digests.has(manifest.backupId));
  }

  /** What a restore of the backup gives. */
  async contentOf(backupId: string): Promise<Buffer> {
    return await contentOf(this.url, backupId);
  }
}

export function digestOfBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
