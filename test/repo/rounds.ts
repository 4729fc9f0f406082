/**
 * What random rounds are played with, and the model: a map from backup to content. Each action may be
 * killed at some call of the store.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { expect } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import { indexKey } from "../../src/core/index_codec.ts";
import type { ManifestDraft, StoredManifest } from "../../src/core/manifest.ts";
import { diskTagOf, nextSequence } from "../../src/core/manifest_key.ts";
import { packKey } from "../../src/core/pack.ts";
import { planRetention } from "../../src/core/retention.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { verify } from "../../src/job/verify.ts";
import { copyBackups } from "../../src/repo/copy.ts";
import { collectGarbage } from "../../src/repo/garbage.ts";
import { putHead } from "../../src/repo/heads.ts";
import { acquireLease } from "../../src/repo/lease.ts";
import { sealManifest, signManifest } from "../../src/repo/manifest_seal.ts";
import { changeNote, readNotes } from "../../src/repo/notes.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { cloneRepository, type Repository } from "../../src/repo/repository.ts";
import { rewriteBackup } from "../../src/repo/rewrite.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { newestVersions } from "../../src/repo/sidecars.ts";
import { signerOf } from "../../src/repo/signature.ts";
import type { Store } from "../../src/store/store.ts";
import { content, continuing, exampleManifest, restore } from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { seededRandom } from "../support/random.ts";
import { storeChanges } from "./round_changes.ts";
import { RoundKeys } from "./round_keys.ts";

const HOUR_MS = 3_600_000;
const OWN = "0".repeat(32);
const machine = signerOf(generateKeyPairSync("ed25519").privateKey);
const signer = () => machine;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

export class World {
  readonly random = seededRandom("rounds");
  readonly keys: RoundKeys;
  readonly store = new MemoryStore();
  /** Of each backup that is there. */
  readonly images = new Map<string, Uint8Array>();
  readonly protectedIds = new Set<string>();
  /** The same repository, and one with an id of its own; what may be there of copies. */
  readonly targets = [1, 2].map(() => ({
    target: new MemoryStore(),
    copies: new Map<string, Uint8Array>(),
  }));
  readonly disks = new Map(["vm-1", "vm-2"].map((vmId) => [vmId, content(70, 1)]));
  readonly counts: Record<string, number> = {};
  nowMs = Date.UTC(2026, 0, 1);
  #number = 0;

  constructor(isSealed: boolean) {
    this.keys = new RoundKeys(isSealed);
    this.store.now = () => this.nowMs;
    for (const { target } of this.targets) target.now = () => this.nowMs;
  }

  async begin(): Promise<void> {
    await this.keys.create(this.store, randomUUID());
    await this.keys.create(this.targets[1]!.target, randomUUID());
  }

  async changeKeys(store: Store): Promise<void> {
    await this.keys.change(store, (end) => this.below(end));
  }

  below(end: number): number {
    return this.random.below(end);
  }

  pick<T>(of: readonly T[]): T | undefined {
    return of[this.below(of.length)];
  }

  /** The store that an action gets, and what it may do before it is killed. */
  hand(store: Store = this.store): { store: Store; mayDie: boolean } {
    if (this.below(3) > 0) return { store, mayDie: false };
    const fault = this.below(2) === 0 ? "fail" : "fail after";
    const nth = 1 + this.below(this.below(2) === 0 ? 12 : 120);
    return { store: new FaultStore(store, { nth, fault, onwards: true }), mayDie: true };
  }

  async flush(store: Store): Promise<void> {
    const vmId = this.pick([...this.disks.keys()])!;
    const diskTag = diskTagOf({ vmId, diskName: "vda" }, sha256Hex);
    const names = {
      machine: vmId,
      hostName: vmId,
      bootId: "b",
      lockFile: "l",
      pid: 1,
      process: "",
    };
    const holder = { ...names, holder: sha256Hex(this.random.bytes(8)).slice(0, 32) };
    const clocks = { now: () => new Date(this.nowMs), hasEnded: () => false };
    const lease = await acquireLease(store, { diskTag, holder, ...clocks });
    if ("heldBy" in lease) throw new Error("a dead one holds the lease");
    const repository = await this.keys.open(store);
    const all = (await repository.manifests()).filter(({ manifest }) => manifest.vmId === vmId);
    const parent = this.below(12) === 0 ? undefined : all.at(-1);
    const before = parent && this.images.get(idOf(parent));
    const keys = [...all.map(({ key }) => key), ...(await newestVersions(store, "maps/")).keys()];
    const sequence = nextSequence(keys, diskTag);
    const sealer = await repository.sealer();
    const first = this.disks.get(vmId)!;
    const changes = await storeChanges(repository, this.random, { before, first, sealer });
    const { disk, blockCount, written } = changes;
    const at = new Date(this.nowMs).toISOString();
    const { backupId } = exampleManifest(this.#number++);
    const fields = { ...continuing(parent), ...written, sequence, blockCount, vmId, backupId };
    const draft = exampleManifest(sequence, { ...fields, capturedAt: at }) as ManifestDraft;
    expect(await lease.held.confirm()).toBe(true);
    // It may be committed although nobody hears of it.
    this.images.set(backupId, disk);
    const manifest = signManifest(await sealManifest(draft, sealer), machine);
    await putHead(repository, await repository.commit(manifest), machine);
    await lease.held.release();
  }

  /** By policy of one disk, or by name. @returns Ids that may be gone now. */
  async prune(store: Store): Promise<Set<string>> {
    const repository = await this.keys.open(store);
    const all = await repository.manifests();
    const notes = await readNotes(store, all, () => undefined);
    const wanted = new Set<string>();
    for (const ofDisk of Map.groupBy(all, ({ manifest }) => manifest.vmId).values()) {
      const candidates = ofDisk.map(({ key, manifest: { backupId, capturedAt } }) => ({
        backupId,
        capturedAt,
        tags: notes.get(key)?.tags ?? [],
        isProtected: notes.get(key)?.isProtected ?? false,
      }));
      const policy = { last: 1 + this.below(4), hourly: this.below(5), daily: this.below(4) };
      const verdicts = planRetention(candidates, policy);
      for (const { backupId, kept } of verdicts) if (!kept) wanted.add(backupId);
    }
    if (this.below(2) === 0) {
      wanted.clear();
      const free = all.filter(({ key }) => !notes.get(key)?.isProtected);
      for (const one of free) if (this.below(4) === 0) wanted.add(idOf(one));
    }
    this.#wanted = wanted;
    await removeBackups(repository, wanted, { signer });
    return wanted;
  }

  #wanted: ReadonlySet<string> = new Set();
  /** Of removals that were begun and perhaps not ended. */
  readonly #begun = new Set<string>();

  async rebase(store: Store): Promise<void> {
    const id = this.pick([...this.images.keys()]);
    if (id !== undefined) await rebaseBackup(await this.keys.open(store), id, signer);
  }

  async remark(store: Store): Promise<void> {
    const one = this.pick(await (await this.keys.open(store)).manifests());
    if (one === undefined) return;
    const isProtected = this.below(4) === 0;
    // Killed meanwhile, nobody knows whether it is.
    this.protectedIds.delete(idOf(one));
    await changeNote(store, one, () => ({ tags: [`t${this.below(3)}`], isProtected }));
    if (isProtected) this.protectedIds.add(idOf(one));
  }

  async gc(store: Store): Promise<void> {
    const graceMs = this.pick([0, HOUR_MS, 72 * HOUR_MS])!;
    const repository = await this.keys.open(store);
    const options = { graceMs, dryRun: false, own: OWN, namesMax: 1 + this.below(50) };
    await collectGarbage(repository, options);
    if (this.below(2) === 0) return;
    for (const one of await repository.manifests())
      await rewriteBackup(repository, one, { signer });
  }

  /** To another store, where backups are removed and collected too. */
  async copy(): Promise<void> {
    const from = await this.keys.open(this.store);
    const { target, copies } = this.pick(this.targets)!;
    const { store, mayDie } = this.hand(target);
    await cloneRepository(from, target);
    const wanted = (await from.manifests()).filter(() => this.below(3) > 0);
    for (const one of wanted) copies.set(idOf(one), this.images.get(idOf(one))!);
    const there = await this.keys.open(target);
    const to = this.keys.over(there, store);
    await copyBackups({ from, to }, wanted, { signer }).catch((error: unknown) => {
      if (!mayDie) throw error;
    });
    const going = [...copies.keys()].filter(() => this.below(4) === 0);
    await removeBackups(there, new Set(going), { signer });
    await collectGarbage(there, { graceMs: 0, dryRun: false, own: OWN });
    const all = await there.manifests();
    for (const one of all) await this.#check(there, all, one, copies);
    const left = new Set(all.map(idOf));
    for (const id of copies.keys()) if (!left.has(id)) copies.delete(id);
  }

  async restoreOne(store: Store): Promise<void> {
    const repository = await this.keys.open(store);
    const all = await repository.manifests();
    const one = this.pick(all);
    if (one) await this.#check(repository, all, one);
  }

  async checkAll(): Promise<void> {
    const repository = await this.keys.open(this.store);
    const all = await repository.manifests();
    for (const one of all) await this.#check(repository, all, one);
    const options = { data: "all", progress: SILENT_PROGRESS } as const;
    const { problems, warnings } = await verify({ repository, ...options });
    expect([problems, warnings]).toEqual([[], []]);
  }

  async #check(
    repository: Repository,
    all: StoredManifest[],
    one: StoredManifest,
    images: ReadonlyMap<string, Uint8Array> = this.images,
  ): Promise<void> {
    const found = await restore(repository, chainOf(all, idOf(one)));
    expect(Buffer.compare(found, images.get(idOf(one))!), `content of ${idOf(one)}`).toBe(0);
  }

  /** What is listed is what the model has, but for what a killed action may or may not have done. */
  async settle(action: string, died: boolean): Promise<void> {
    const listed = await (await this.keys.open(this.store)).manifests();
    const ids = new Set(listed.map(idOf));
    for (const { map, manifest } of listed) if (map?.removing) this.#begun.add(manifest.backupId);
    const mayBeGone = new Set(this.#begun);
    if (action === "prune") for (const id of this.#wanted) mayBeGone.add(id);
    for (const id of [...this.images.keys()]) {
      if (ids.has(id)) continue;
      const isNew = action === "flush" && died && id === [...this.images.keys()].at(-1);
      expect(mayBeGone.has(id) || isNew, `${id} is gone after ${action}`).toBe(true);
      expect(this.protectedIds.has(id) && !this.#begun.has(id), `${id} was protected`).toBe(false);
      this.images.delete(id);
    }
    expect([...ids].filter((id) => !this.images.has(id))).toEqual([]);
    if (action === "prune" && !died) {
      expect([...this.#wanted, ...this.#begun].filter((id) => ids.has(id))).toEqual([]);
      this.#begun.clear();
    }
  }

  /** Nothing is there that a gc without grace would have to remove. Told by reading everything. */
  async checkNoGarbage(): Promise<void> {
    const now = this.nowMs + 100 * HOUR_MS;
    this.nowMs = now;
    for (let time = 0; time < 2; time++) {
      const options = { graceMs: 0, dryRun: false, own: OWN };
      await collectGarbage(await this.keys.open(this.store), options);
      this.nowMs += HOUR_MS;
    }
    const repository = await this.keys.open(this.store);
    const needed = new Set<string>();
    for (const { manifest } of await repository.manifests()) {
      for (const index of manifest.indexes) {
        needed.add(indexKey(index.name));
        const { packs } = await repository.indexes.read(manifest, index);
        for (const { name } of packs) needed.add(packKey(name));
      }
    }
    const keys = [...this.store.objects.keys()];
    expect(new Set(keys.filter((key) => /^(packs|indexes)\//.test(key)))).toEqual(needed);
    expect(keys.filter((key) => /^(markers|leases)\//.test(key))).toEqual([]);
  }
}
