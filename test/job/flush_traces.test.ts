/** What a flush leaves so that its backup is missed, and what the next one says when it is. */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { readRemembered } from "../../src/job/remembered.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { Machine, run } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { canTrack } from "../support/site.ts";

const describeWhereDisks = describe.skipIf(!canTrack());

let machine: Machine;
let store: MemoryStore;
let repository: Repository;
let context: JobContext;
let disk: string;
let messages: string[];

beforeEach(async () => {
  machine = new Machine();
  store = new MemoryStore();
  repository = await newRepository(store);
  messages = [];
  const pins = `ibackup-test-${randomBytes(6).toString("hex")}`;
  const message = (text: string) => void messages.push(text);
  const progress = { ...SILENT_PROGRESS, message };
  context = { ...testContext(machine, { repository, pins }), progress };
  disk = machine.loopDisk("disk", 8 << 20);
  run("dd", "if=/dev/urandom", `of=${disk}`, "bs=1M", "count=2", "oflag=direct", "status=none");
});

afterEach(() => machine.close());

async function flush() {
  const asked = { base: false, scan: false, consistency: "fuzzy", diskName: "disk" } as const;
  return await flushDevice(context, { ...asked, device: disk, vmId: "vm" });
}

const keysOf = (folder: string) =>
  [...store.objects.keys()].filter((key) => key.startsWith(`${folder}/`)).sort();
const newestOf = (folder: string) => keysOf(folder).at(-1) ?? "";

describeWhereDisks("a flush", () => {
  test("signs its backup, puts a head, and remembers it", async () => {
    const { backupId } = await flush();
    const [stored] = await repository.manifests();
    expect(stored?.manifest).toMatchObject({ backupId, writer: expect.any(String) });
    const [head = ""] = keysOf("heads");
    expect(head.replace("heads", "manifests")).toBe(stored?.key);
    expect((await readRemembered(context, repository)).damaged).toEqual([]);
    await flush();
    expect(messages).toEqual(messages.filter((text) => text.startsWith("comparing")));
    expect(new Set((await repository.manifests()).map((it) => it.manifest.writer)).size).toBe(1);
  });

  test("tells that the newest backup was taken away, and never takes its place", async () => {
    const base = await flush();
    await flush();
    const removed = newestOf("manifests");
    store.objects.delete(removed);
    const next = await flush();
    expect(next).toMatchObject({ parentId: base.backupId, gapCheck: { verdict: "compared" } });
    expect(messages.join("\n")).toMatch(/was removed, and not by prune/);
    expect(keysOf("manifests")).not.toContain(removed);
  });

  test("tells that the repository was put back, heads and all", async () => {
    const base = await flush();
    const before = new Map(store.objects);
    await flush();
    store.objects.clear();
    for (const [key, bytes] of before) store.objects.set(key, bytes);
    const next = await flush();
    expect(next).toMatchObject({ parentId: base.backupId, gapCheck: { verdict: "compared" } });
    expect(messages.join("\n")).toMatch(/this machine has seen .* not there any more/);
    messages.length = 0;
    await flush();
    expect(messages.join("\n")).not.toMatch(/this machine has seen/);
  });

  test("puts the head that it could not put before, and goes on without a state folder", async () => {
    await flush();
    const head = newestOf("heads");
    store.objects.delete(head);
    rmSync(`${context.stateDir()}/seen-${repository.id}`, { recursive: true });
    await flush();
    expect(keysOf("heads")).toContain(head);
    const stateDir = () => {
      const parts = { why: "others may enter it", fix: "remove it" };
      throw new IbackupError("NOT_PERMITTED", "Cannot use the state folder", parts);
    };
    context = { ...context, stateDir };
    await flush();
    expect((await repository.manifests()).at(-1)?.manifest.writer).toBe(null);
    expect(messages.join("\n")).toMatch(
      /what is stored is not signed: Cannot use the state folder/,
    );
  });
});
