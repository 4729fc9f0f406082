/** Repositories with backups that hold nothing: enough to be listed, shown and chosen. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Manifest, StoredManifest } from "../../src/core/manifest.ts";
import { createRepository, type Repository } from "../../src/repo/repository.ts";
import { DirectoryStore } from "../../src/store/directory.ts";

const REPOSITORY_ID = "0f6f7c5e-2d1b-4a53-9f0e-6a4b0f3c2d11";

export interface TestRepository {
  folder: string;
  url: string;
  repository: Repository;
  /** Adds a backup of a disk: a base, or an incremental of `parent`. */
  add(fields: Partial<Manifest> & Minimum, parent?: StoredManifest): Promise<StoredManifest>;
  remove(): void;
}

type Minimum = { backupId: string; diskName: string };

export async function makeRepository(): Promise<TestRepository> {
  const folder = mkdtempSync(join(tmpdir(), "ibackup-repository-"));
  const store = new DirectoryStore(folder);
  const createdAt = new Date("2026-11-22T00:00:00Z");
  const repository = await createRepository(store, { id: REPOSITORY_ID, createdAt });
  return {
    folder,
    url: `file://${folder}`,
    repository,
    add: (fields, parent) => repository.commit(manifestOf(fields, parent)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function manifestOf(
  { diskName, ...fields }: Partial<Manifest> & Minimum,
  parent: StoredManifest | undefined,
): Manifest {
  // The time that stands in the id.
  const [, date = "", time = ""] = /^(\d{8})T(\d{6})Z/.exec(fields.backupId) ?? [];
  const instant = `${date.replace(/(....)(..)(..)/, "$1-$2-$3")}T${time.replace(/(..)(..)(..)/, "$1:$2:$3")}.000Z`;
  return {
    vmId: "web-1",
    disk: {
      name: diskName,
      sizeBytes: 1 << 30,
      logicalBlockBytes: 512,
      identity: { kind: "serial", value: `serial-${diskName}` },
    },
    type: parent ? "incremental" : "base",
    parentId: parent?.manifest.backupId ?? null,
    parentSha256: parent?.sha256 ?? null,
    parentSequence: parent?.manifest.sequence ?? null,
    sequence: parent ? parent.manifest.sequence + 1 : 0,
    capturedAt: instant,
    startedAt: instant,
    finishedAt: instant,
    consistency: "quiet",
    gapCheck: parent ? "trusted" : "base",
    freezeMs: null,
    passes: 1,
    blockBytes: 4096,
    blockCount: 1 << 18,
    blocksChanged: 0,
    blocksZero: 0,
    bytesRead: 0,
    bytesStored: 0,
    indexes: [],
    ibackupVersion: "0.1.0",
    seal: null,
    details: {
      partitionTableSha256: null,
      gapReason: parent
        ? "every write since the parent was seen"
        : "the repository has no backup of this disk",
      tracking: null,
      fileSystems: [],
    },
    writer: null,
    signature: null,
    ...fields,
  };
}
