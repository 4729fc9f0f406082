import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import type { JobContext } from "../../src/job/context.ts";
import { type FlushResult, flushDevice } from "../../src/job/flush.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { restoreBackup } from "../../src/job/restore.ts";
import { startTracking, stopTracking } from "../../src/job/track.ts";
import type { ByteRange } from "../../src/store/store.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { canTrack } from "../support/site.ts";

const DISK_BYTES = 64 << 20;

/** Counts what is fetched of packs: the data. */
class CountingStore extends MemoryStore {
  packReads = 0;

  override async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    if (key.startsWith("packs/")) this.packReads += 1;
    return await super.get(key, options);
  }

  override async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    if (key.startsWith("packs/")) this.packReads += 1;
    return await super.getRange(key, range);
  }
}

describe.runIf(canTrack())("flush", () => {
  let machine: Machine;
  let store: CountingStore;
  let context: JobContext;
  let messages: string[];
  let disk: string;

  beforeEach(async () => {
    machine = new Machine();
    store = new CountingStore();
    const repository = await newRepository(store);
    messages = [];
    context = {
      ...testContext(machine, { repository, pins: "ibackup_test_digests" }),
      progress: { ...SILENT_PROGRESS, message: (text) => messages.push(text) },
    };
    disk = machine.loopDisk("disk", DISK_BYTES);
    write(0, 24);
    await startTracking(context, [disk], ["block"]);
  });
  afterEach(async () => {
    await stopTracking(context, []);
    machine.close();
  });

  function write(firstMib: number, mibs: number): void {
    const where = [`of=${disk}`, "bs=1M", `seek=${firstMib}`, `count=${mibs}`];
    run("dd", "if=/dev/urandom", ...where, "oflag=direct", "conv=notrunc", "status=none");
  }

  /** What a reboot amounts to: nobody saw these writes. */
  async function writeUnseen(firstMib: number, mibs: number): Promise<void> {
    await stopTracking(context, []);
    write(firstMib, mibs);
    await startTracking(context, [disk], ["block"]);
  }

  async function flush(options: { base?: boolean; scan?: boolean } = {}): Promise<FlushResult> {
    const asked = { base: false, scan: false, consistency: "fuzzy", ...options } as const;
    return await flushDevice(context, { ...asked, device: disk, vmId: "vm" });
  }

  async function expectRestorable({ backupId }: FlushResult): Promise<void> {
    const target = machine.path(`${backupId}.img`);
    const backup = { choice: { id: backupId }, scope: {}, vmId: "vm" };
    const how = { changedOnly: false, replay: false, verify: false, partial: false };
    await restoreBackup(context, { ...how, dryRun: false, force: false, backup, target });
    expect(digestOf(target)).toBe(digestOf(disk));
  }

  test("that has to compare reads the disk alone", async () => {
    await flush();
    write(3, 1);
    await flush();
    await writeUnseen(20, 6);
    store.packReads = 0;
    const compared = await flush();
    expect(store.packReads).toBe(0);
    expect(compared.gapCheck.verdict).toBe("compared");
    expect(compared.gapCheck.reason).toMatch(/; compared by digests$/);
    expect(compared.blocksChanged).toBe((6 << 20) / 4096);
    await expectRestorable(compared);

    write(40, 1);
    expect((await flush()).gapCheck.verdict).toBe("trusted");
    await writeUnseen(40, 2);
    const again = await flush();
    expect(again.gapCheck.reason).toMatch(/; compared by digests$/);
    expect(again.blocksChanged).toBe((2 << 20) / 4096);
    await expectRestorable(again);
    expect(messages.filter((text) => text.includes("digests of the blocks"))).toEqual([]);
  });

  test("compares with the repository once when the cache was deleted, or is of another key", async () => {
    await flush();
    const key = `${context.cacheDir()}/key`;
    const losses = [
      () => rmSync(context.cacheDir(), { recursive: true }),
      () => rmSync(key),
      () => writeFileSync(key, new Uint8Array(statSync(key).size)),
    ];
    for (const [index, lose] of losses.entries()) {
      lose();
      await writeUnseen(10 * index, 1);
      const first = await flush();
      expect(first.gapCheck.reason).toMatch(/; compared with the repository$/);
      expect(first.blocksChanged).toBe(256);
      await writeUnseen(10 * index + 4, 1);
      const second = await flush();
      expect(second.gapCheck.reason).toMatch(/; compared by digests$/);
      expect(second.blocksChanged).toBe(256);
      await expectRestorable(second);
    }
  });

  test("keeps the digests even when it commits nothing after the comparison", async () => {
    await flush();
    rmSync(context.cacheDir(), { recursive: true });
    await writeUnseen(8, 1);
    const put = store.putIfAbsent.bind(store);
    store.putIfAbsent = async (key, body) => {
      if (!key.startsWith("manifests/")) return await put(key, body);
      throw new IbackupError("STORE_UNREACHABLE", "Cannot reach it", { why: "test", fix: "none" });
    };
    await expect(flush()).rejects.toThrow("Cannot reach it");
    store.putIfAbsent = put;
    const compared = await flush();
    expect(compared.gapCheck.reason).toMatch(/; compared by digests$/);
    await expectRestorable(compared);
  });

  test("works without a cache folder, and says why there are no digests", async () => {
    context = {
      ...context,
      cacheDir: () => {
        throw new IbackupError("NOT_PERMITTED", "Cannot use the cache folder", {
          why: "it belongs to user 1, not to root",
          fix: "remove it",
        });
      },
    };
    await flush();
    expect(messages).toEqual([
      "the digests of the blocks are not kept: Cannot use the cache folder: it belongs to user 1, not to root",
    ]);
    await writeUnseen(8, 1);
    const compared = await flush();
    expect(compared.gapCheck.reason).toMatch(/; compared with the repository$/);
    await expectRestorable(compared);
  });

  test("works with a cache that is full or read-only, and drops it", async () => {
    const folder = machine.cacheFolder;
    mkdirSync(folder, { mode: 0o700 });
    // Room for the key and the folder, not for the digests of 6,144 blocks.
    run("mount", "-t", "tmpfs", "-o", "size=24k,mode=0700", "tmpfs", folder);
    machine.onClose(() => run("umount", folder));
    await flush();
    expect(messages).toEqual([expect.stringMatching(/digests of the blocks are not kept: ENOSPC/)]);
    expect(readdirSync(`${folder}/digests`)).toEqual([]);

    run("mount", "-o", "remount,size=16m", folder);
    await writeUnseen(8, 1);
    expect((await flush()).gapCheck.reason).toMatch(/; compared with the repository$/);
    messages.length = 0;
    run("mount", "-o", "remount,ro", folder);
    write(2, 1);
    expect((await flush()).gapCheck.verdict).toBe("trusted");
    expect(messages).toEqual([
      expect.stringMatching(/digests of the blocks are not kept: .*EROFS/),
    ]);
    run("mount", "-o", "remount,rw", folder);
    await writeUnseen(8, 1);
    const compared = await flush();
    expect(compared.gapCheck.reason).toMatch(/; compared with the repository$/);
    await expectRestorable(compared);
  });

  test("leaves nothing behind but the key and one file for root alone", async () => {
    writeFileSync(`${context.cacheDir()}/unrelated`, "");
    await flush();
    await flush({ base: true });
    const folder = context.cacheDir();
    expect(readdirSync(folder).sort()).toEqual(["digests", "key", "unrelated"]);
    const [name, ...others] = readdirSync(`${folder}/digests`);
    expect(others).toEqual([]);
    for (const path of [`${folder}/key`, `${folder}/digests/${name}`]) {
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    expect(readFileSync(`${folder}/digests/${name}`).subarray(0, 8).toString()).toBe("ibkdigst");
  });

  test("removes the digests of disks that were not backed up for 90 days", async () => {
    const folder = `${context.cacheDir()}/digests`;
    await flush();
    const [own = ""] = readdirSync(folder);
    const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);
    for (const days of [89, 91, 5000]) {
      writeFileSync(`${folder}/repository-disk${days}`, "");
      utimesSync(`${folder}/repository-disk${days}`, daysAgo(days), daysAgo(days));
    }
    utimesSync(`${folder}/${own}`, daysAgo(100), daysAgo(100));
    await writeUnseen(8, 1);
    expect((await flush()).gapCheck.reason).toMatch(/; compared by digests$/);
    expect(readdirSync(folder).sort()).toEqual([own, "repository-disk89"].sort());
    expect(statSync(`${folder}/${own}`).mtimeMs).toBeGreaterThan(daysAgo(1).getTime());
  });
});
