import type { StoredManifest } from "../core/manifest.ts";

/** Who continues whom, damaged links included. */
export class Kinship {
  readonly #byId: ReadonlyMap<string, StoredManifest>;
  readonly #children: ReadonlyMap<string | null, StoredManifest[]>;

  constructor(all: readonly StoredManifest[]) {
    this.#byId = new Map(all.map((stored) => [stored.manifest.backupId, stored]));
    this.#children = Map.groupBy(all, ({ manifest }) => manifest.parentId);
  }

  get(backupId: string): StoredManifest | undefined {
    return this.#byId.get(backupId);
  }

  /** A backup and those that it builds on, oldest first, as far as they are there. */
  ancestorsOf(backupId: string): string[] {
    const line = new Set<string>();
    let next = this.#byId.get(backupId);
    while (next && !line.has(next.manifest.backupId)) {
      line.add(next.manifest.backupId);
      next = this.#byId.get(next.manifest.parentId ?? "");
    }
    return [...line].reverse();
  }

  /** These backups and all that build on them. */
  descendantsOf(backupIds: readonly string[]): string[] {
    const found = new Set(backupIds);
    for (const id of found) {
      // A Set is walked in the order of insertion, those inserted on the way included.
      for (const { manifest } of this.#children.get(id) ?? []) found.add(manifest.backupId);
    }
    return [...found];
  }
}
