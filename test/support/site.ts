/** A machine that is backed up: disks, hooks pinned in a folder of their own, a repository. */
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env, getuid, stderr } from "node:process";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { chainOf } from "../../src/core/chain.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import { readBlocks } from "../../src/repo/block_reader.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";
import { Machine } from "./machine.ts";
import {
  type Flushed,
  ibackup,
  ibackupJson,
  type Outcome,
  PROGRAM,
  type ProgramOptions,
} from "./program.ts";

/** What `restore --json` prints, as far as tests look at it. */
export interface Restored {
  backupId: string;
  chain: string[];
  requests: number;
  bytesFetched: number;
  bytesWritten: number;
  verified: boolean | null;
  damaged: { object: string; reason: string; extents: BlockExtent[] }[];
}

/** What `track status --json` prints, as far as tests look at it. */
export interface TrackingReport {
  session: { id: string; listening: boolean } | null;
  devices: {
    device: string;
    dirtyBlocks: number;
    blockBytes: number;
    taints: Record<string, number>;
    counters: Record<string, number>;
  }[];
}

export interface SealedSite {
  identity: string;
  identityFile: string;
  recipient: string;
}

export class Site {
  readonly machine = new Machine();
  readonly pinFolder = `/sys/fs/bpf/ibackup-test-${randomBytes(6).toString("hex")}`;
  /** The repository that commands use unless they name another. */
  repo = `file://${this.machine.path("repository")}`;

  constructor() {
    this.machine.onClose(() => {
      if (existsSync(this.pinFolder)) this.must("track", "stop");
    });
  }

  /** More of the environment that ibackup is given. */
  readonly extraEnvironment: Record<string, string> = {};

  get options(): ProgramOptions & { env: Record<string, string> } {
    const { pinFolder, repo, extraEnvironment } = this;
    return { env: { IBACKUP_PIN_DIR: pinFolder, IBACKUP_REPO: repo, ...extraEnvironment } };
  }

  /** The words that run ibackup in a shell as the other methods do. */
  get command(): string {
    const variables = { ...this.machine.environment, ...this.options.env };
    const assignments = Object.entries(variables).map(([name, value]) => `${name}='${value}'`);
    return `env ${assignments.join(" ")} '${PROGRAM}'`;
  }

  run(...args: string[]): Outcome {
    return ibackup(this.machine, args, this.options);
  }

  /** Runs ibackup, which must succeed. @returns Its standard output. */
  must(...args: string[]): string {
    const { status, stdout, stderr: messages } = this.run(...args);
    if (status === 0) return stdout;
    throw new Error(`ibackup ${args.join(" ")}: status ${status}\n${messages}`);
  }

  json<T>(...args: string[]): T {
    return ibackupJson<T>(this.machine, args, this.options);
  }

  init(): void {
    this.must("init", "--no-encryption");
  }

  /** A repository that commands can seal to, and open only when they are given the identity. */
  async initSealed(): Promise<SealedSite> {
    const identity = await generateX25519Identity();
    const recipient = await identityToRecipient(identity);
    const identityFile = this.machine.path("identity.txt");
    writeFileSync(identityFile, `${identity}\n`, { mode: 0o600 });
    this.must("init", "--recipient", recipient);
    return { identity, identityFile, recipient };
  }

  flush(device: string, ...options: string[]): Flushed {
    return this.json<Flushed>("flush", device, ...options);
  }

  restore(backup: string, target: string, ...options: string[]): Restored {
    return this.json<Restored>("restore", backup, "--target", target, "--force", ...options);
  }

  status(...devices: string[]): TrackingReport {
    return this.json<TrackingReport>("track", "status", ...devices);
  }

  close(): void {
    this.machine.close();
  }
}

/** The blocks that a backup holds itself: for an incremental, those that were marked. */
export async function ownBlocks(url: string, backupId: string): Promise<Set<number>> {
  const store = await openStore(url);
  try {
    const repository = await openRepository(store);
    const chain = chainOf(await repository.manifests(), backupId);
    const blocks = new Set<number>();
    for await (const piece of readBlocks(repository, chain, { onlyOwn: true })) {
      for (let i = 0; i < piece.blockCount; i++) blocks.add(piece.firstBlock + i);
    }
    return blocks;
  } finally {
    await store.close();
  }
}

/** The key of a backup's manifest, in a repository that is a folder. */
export function manifestKeyIn(folder: string, backupId: string): string {
  const isIts = (key: string): boolean =>
    readFileSync(join(folder, key), "utf8").includes(`"backupId": "${backupId}"`);
  const keys = filesBelow(join(folder, "manifests")).map((name) => `manifests/${name}`);
  const key = keys.find(isIts);
  if (key !== undefined) return key;
  throw new Error(`there is no manifest of ${backupId} in ${folder}`);
}

/** Files below a folder, relative, ascending. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(folder.length + 1))
    .sort();
}

/**
 * True where a test of real disks can run. Elsewhere it says so in one line; CI gets no such mercy:
 * there a test that cannot run fails.
 */
export function canTrack(): boolean {
  const missing = getuid?.() === 0 ? missingParts() : ["root"];
  if (missing.length === 0 || env["CI"] === "true") return true;
  stderr.write(`skipped, for want of ${missing.join(", ")}\n`);
  return false;
}

function missingParts(): string[] {
  return ["/sys/kernel/btf/vmlinux", "/sys/fs/bpf", "/dev/loop-control"].filter(
    (path) => !existsSync(path),
  );
}
