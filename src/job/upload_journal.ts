/**
 * Remembers what a flush has stored until its manifest is there, so that after a kill or with a store
 * that died the next flush does not send it again.
 *
 * It lies in the runtime folder: with keys of packs in it, it must not be on a disk that may be
 * stolen, and what it says is of this boot. It proves nothing: the next flush reads every block, and
 * takes over what gives the same bytes (`FrameFinder`). Packs that no manifest names are kept from gc
 * by the first lease of the flush that stored them, which the next one therefore goes on with.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { BlockExtent } from "../core/extent.ts";
import { type FrameCodec, RECORD_KIND } from "../core/records.ts";
import { sealContext } from "../core/seal.ts";
import type { LeaseMark } from "../repo/lease.ts";
import type { Repository } from "../repo/repository.ts";
import type { PackJournal, StoredPack } from "../repo/stored_packs.ts";
import { isTmpfs } from "./runtime_folder.ts";

const LEASE_FILE = "lease";
const PACK_FILE = /^[0-9]+$/;
/** Of memory, for a disk: tens of GiB of packs. What is beyond that is sent again. */
const JOURNAL_BYTES_MAX = 64 << 20;

const leaseSchema = z.strictObject({ number: z.int(), holder: z.string() });
const count = z.int().nonnegative();
const packSchema = z.strictObject({
  name: z.string(),
  sizeBytes: count,
  key: z.base64().nullable(),
  frames: z.array(
    z.strictObject({
      codec: z.literal<FrameCodec[]>([RECORD_KIND.raw, RECORD_KIND.zstd]),
      offset: count,
      storedBytes: count,
      digest: z.base64(),
      /** First block and number of blocks of each extent. */
      extents: z.array(z.tuple([count, count])),
    }),
  ),
});

interface Place {
  runtimeFolder: string;
  repository: Repository;
  /** Of the disk. */
  tag: string;
}

/** Its packs are those of the flush that broke off; those that are added are for the next one. */
export class UploadJournal implements PackJournal {
  readonly #folder: string;
  readonly #context: Uint8Array;
  /** False: nothing is remembered. */
  #isOn: boolean;
  #lease: LeaseMark | undefined;
  readonly #fileOf = new Map<number, number>();
  #lastRead: { file: number; pack: StoredPack | undefined } | undefined;
  #files = 0;
  #bytes = 0;

  constructor({ runtimeFolder, repository, tag }: Place) {
    const { id, isSealed, store } = repository;
    const name = createHash("sha256").update(`${id}\0${tag}\0${store.url}`).digest("hex");
    this.#folder = join(runtimeFolder, "uploads", name.slice(0, 32));
    this.#context = sealContext("pack", id);
    this.#isOn = !isSealed || isTmpfs(runtimeFolder);
    this.#lease = this.#isOn ? read(join(this.#folder, LEASE_FILE), leaseSchema) : undefined;
  }

  /** Of the flush that broke off. */
  get lease(): LeaseMark | undefined {
    return this.#lease;
  }

  /** Whether there is something that the next flush could take over. */
  get isEmpty(): boolean {
    return this.#files === 0;
  }

  /**
   * To be called with the lease.
   *
   * @param lease The first one that this flush goes on with. Unless it is that of the flush that broke
   *   off, gc may remove what that has stored, and nothing of it is taken over.
   */
  begin(lease: LeaseMark): void {
    if (!this.#isOn) return;
    const isSame = lease.number === this.#lease?.number && lease.holder === this.#lease.holder;
    if (isSame) this.#attempt(() => this.#load());
    else this.#beginAnew(lease);
  }

  #beginAnew(lease: LeaseMark): void {
    this.clear();
    this.#attempt(() => {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      writeFileSync(join(this.#folder, LEASE_FILE), JSON.stringify(lease), { mode: 0o600 });
    });
  }

  begins(block: number): boolean {
    return this.#fileOf.has(block);
  }

  find(firstBlock: number): StoredPack | undefined {
    const file = this.#fileOf.get(firstBlock);
    if (file === undefined) return undefined;
    // Frames are asked for in the order of packs, but for a few.
    if (this.#lastRead?.file !== file) this.#lastRead = { file, pack: this.#read(file) };
    return this.#lastRead.pack;
  }

  add({ name, sizeBytes, key, frames }: StoredPack): void {
    if (!this.#isOn || this.#bytes >= JOURNAL_BYTES_MAX) return;
    const pack: z.infer<typeof packSchema> = {
      name,
      sizeBytes,
      key: key ? base64(key.key) : null,
      frames: frames.map(({ place: { codec, offset, storedBytes, digest }, extents }) => ({
        codec,
        offset,
        storedBytes,
        digest: base64(digest),
        extents: extents.map(({ firstBlock, blockCount }) => [firstBlock, blockCount]),
      })),
    };
    const file = join(this.#folder, String(this.#files + 1));
    const text = JSON.stringify(pack);
    this.#attempt(() => writeFileSync(file, text, { mode: 0o600 }));
    this.#files += 1;
    this.#bytes += text.length;
  }

  /** Forgets everything: the backup exists. */
  clear(): void {
    this.#fileOf.clear();
    this.#lastRead = undefined;
    this.#files = 0;
    this.#bytes = 0;
    this.#attempt(() => rmSync(this.#folder, { recursive: true, force: true }));
  }

  #load(): void {
    const files = readdirSync(this.#folder).filter((name) => PACK_FILE.test(name));
    for (const file of files.map(Number).toSorted((left, right) => left - right)) {
      this.#files = file;
      this.#bytes += statSync(join(this.#folder, String(file))).size;
      for (const { extents } of this.#read(file)?.frames ?? []) {
        const first: BlockExtent | undefined = extents[0];
        // The latest: what changed since the first of several flushes that broke off is there.
        if (first) this.#fileOf.set(first.firstBlock, file);
      }
    }
  }

  #read(file: number): StoredPack | undefined {
    const pack = read(join(this.#folder, String(file)), packSchema);
    return (
      pack && {
        ...pack,
        key: pack.key === null ? undefined : { key: bytesOf(pack.key), context: this.#context },
        frames: pack.frames.map(({ digest, extents, ...place }) => ({
          place: { ...place, pack: 0, digest: bytesOf(digest) },
          extents: extents.map(([firstBlock, blockCount]) => ({ firstBlock, blockCount })),
        })),
      }
    );
  }

  /** A backup does not fail for want of room to remember. */
  #attempt(work: () => void): void {
    try {
      work();
    } catch {
      this.#isOn = false;
    }
  }
}

/** Undefined where it is missing, or half written. */
function read<T>(path: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}
