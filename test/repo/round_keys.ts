/** The keys of the random rounds: those of ibackup, which change, and one identity that always opens. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { JobContext } from "../../src/job/context.ts";
import { FreezeGate } from "../../src/job/freeze_gate.ts";
import { addKey, makeKeys, removeKey } from "../../src/job/keys.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { makePair, unwrapWith, wrapFor } from "../../src/keys/age.ts";
import { holdersOf, newestRecipient, readKeyRing, unlock } from "../../src/keys/key_ring.ts";
import {
  createRepository,
  type FindKeys,
  openRepository,
  Repository,
} from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";

const HOLDERS_MAX = 4;

interface Holder {
  slotId: string;
  identity: string;
}

export class RoundKeys {
  readonly #isSealed: boolean;
  readonly #folder = mkdtempSync(join(tmpdir(), "ibackup-rounds-"));
  /** The one that always opens. */
  #own = { identity: "", recipient: "" };
  /** Others that were let in. */
  #others: Holder[] = [];

  constructor(isSealed: boolean) {
    this.#isSealed = isSealed;
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }

  /** Makes a repository in an empty store. */
  async create(store: Store, id: string): Promise<void> {
    const facts = { id, createdAt: new Date(0) };
    if (!this.#isSealed) return void (await createRepository(store, facts));
    if (this.#own.identity === "") {
      this.#own = await makePair();
      writeFileSync(this.#identityFile, this.#own.identity, { mode: 0o600 });
    }
    const { recipient: holder } = this.#own;
    const recipient = await makeKeys(this.#context(store), id, [{ recipient: holder }]);
    await createRepository(store, { ...facts, recipient }, this.find(store));
  }

  async open(store: Store): Promise<Repository> {
    return await openRepository(store, this.find(store));
  }

  /** The same repository, by way of another store. */
  over(repository: Repository, store: Store): Repository {
    const keys = this.#isSealed ? this.find(store)(repository.id) : undefined;
    return new Repository(store, repository.id, keys);
  }

  /** As ibackup does it, but for what a machine remembers of a repository. */
  find(store: Store): FindKeys {
    const secrets = () => ({ identities: [this.#own.identity], passphrases: [] });
    return (id) => ({
      hasIdentity: true,
      wrap: async (dataKey) => {
        const ring = await readKeyRing(store, id);
        return (await wrapFor(newestRecipient(ring), dataKey))!;
      },
      unwrap: async (wrapped) => {
        const { unlocked } = await unlock(await readKeyRing(store, id), secrets());
        const identities = unlocked.map(({ identity }) => identity);
        return (await unwrapWith(identities, wrapped))!;
      },
    });
  }

  /** Lets somebody in, or shuts one out, who can open nothing from then on. */
  async change(store: Store, below: (end: number) => number): Promise<void> {
    if (!this.#isSealed) return;
    const context = this.#context(store);
    const [gone] = this.#others.splice(below(this.#others.length + 1), 1);
    if (gone === undefined || this.#others.length < below(HOLDERS_MAX)) {
      const { identity, recipient } = await makePair();
      const { secrets } = context;
      const options = { newcomer: { recipient }, label: "", secrets };
      const { slotId } = await addKey(context, options);
      this.#others.push({ slotId, identity }, ...(gone ? [gone] : []));
      return;
    }
    const ring = await readKeyRing(store, (await this.open(store)).id);
    // His slots may be gone already, of a removal that was killed.
    if (!holdersOf(ring).some(({ slotId }) => slotId === gone.slotId)) return;
    await removeKey(context, gone.slotId);
    const { repositoryId } = ring;
    const now = await readKeyRing(store, repositoryId);
    const his = { identities: [gone.identity], passphrases: [] };
    await expect(unlock(now, his)).rejects.toMatchObject({ code: "NO_KEY" });
  }

  get #identityFile(): string {
    return join(this.#folder, "identity");
  }

  #context(store: Store): JobContext {
    const none = async () => {
      throw new Error("nothing of this machine has a part in keys");
    };
    return {
      openStore: async () => store,
      openRepository: () => this.open(store),
      helper: none,
      helperArgs: [],
      runtimeDir: () => this.#folder,
      cacheDir: () => this.#folder,
      stateDir: () => this.#folder,
      secrets: { identityFile: this.#identityFile, passphraseFile: undefined },
      pinnedRecipient: undefined,
      environment: {},
      progress: SILENT_PROGRESS,
      freezeGate: new FreezeGate(),
      clock: { now: () => new Date(0), monotonicMs: () => 0 },
      random: (bytes) => new Uint8Array(randomBytes(bytes)),
      signal: new AbortController().signal,
      version: "0.0.0",
    };
  }
}
