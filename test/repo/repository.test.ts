import { describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import { createRepository, openRepository, Repository } from "../../src/repo/repository.ts";
import { continuing, exampleManifest, newRepository } from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const OPTIONS = { id: "6c1f1d0e-73a9-4b9e-8a5e-0d7f6a3c2b10", createdAt: new Date(0) };

describe("a repository", () => {
  test("opens as what it was made", async () => {
    const store = new MemoryStore();
    expect((await createRepository(store, OPTIONS)).id).toBe(OPTIONS.id);
    expect((await openRepository(store)).id).toBe(OPTIONS.id);
    expect([...store.objects.keys()]).toEqual(["repository"]);
  });

  test("is not made where there is one", async () => {
    const store = new MemoryStore();
    await createRepository(store, OPTIONS);
    const other = { ...OPTIONS, id: "00000000-0000-4000-8000-000000000000" };
    await expect(createRepository(store, other)).rejects.toMatchObject({
      code: "REPOSITORY_EXISTS",
    });
    expect((await openRepository(store)).id).toBe(OPTIONS.id);
  });

  test("is missing in an empty store", async () => {
    const opened = openRepository(new MemoryStore());
    await expect(opened).rejects.toMatchObject({ code: "REPOSITORY_MISSING" });
  });

  test("of a newer format is told from one that is damaged", async () => {
    const store = new MemoryStore();
    await createRepository(store, OPTIONS);
    const text = new TextDecoder().decode(store.objects.get("repository"));
    const put = (changed: string) =>
      store.objects.set("repository", new TextEncoder().encode(changed));
    put(text.replace("ibackup-repository 1", "ibackup-repository 2"));
    await expect(openRepository(store)).rejects.toMatchObject({ code: "REPOSITORY_FORMAT" });
    put(text.replace(OPTIONS.id, OPTIONS.id.replace("6", "7")));
    await expect(openRepository(store)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    put("hello\n");
    await expect(openRepository(store)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
  });
});

describe("the manifests of a repository", () => {
  test("are listed oldest first", async () => {
    const repository = await newRepository();
    const base = await repository.commit(exampleManifest(5));
    const child = await repository.commit(exampleManifest(3, continuing(base)));
    const older = await repository.commit(exampleManifest(4));
    const other = await openRepository(repository.store);
    const ids = (await other.manifests()).map(({ manifest }) => manifest.backupId);
    expect(ids.indexOf(base.manifest.backupId)).toBeLessThan(ids.indexOf(child.manifest.backupId));
    expect(ids).toContain(older.manifest.backupId);
    expect(await other.manifests()).toEqual([older, base, child]);
  });

  test("may be committed twice, and never overwrite another", async () => {
    const repository = await newRepository();
    const manifest = exampleManifest(1);
    const stored = await repository.commit(manifest);
    expect(await repository.commit(manifest)).toEqual(stored);
    const other = { ...manifest, backupId: exampleManifest(2).backupId };
    await expect(repository.commit(other)).rejects.toMatchObject({
      code: "LOCKED",
      why: `another ibackup has stored the backup ${manifest.backupId} of disk "vda" of "vm-1" meanwhile`,
    });
    expect(await repository.manifests()).toEqual([stored]);
  });

  test("of other disks and other VMs do not get in each other's way", async () => {
    const repository = await newRepository();
    const disk = { ...exampleManifest(1).disk, name: "vdb" };
    for (const fields of [{}, { disk }, { vmId: "vm-2" }]) {
      await repository.commit(exampleManifest(1, fields));
    }
    expect(await repository.manifests()).toHaveLength(3);
  });

  test("are not read again when they are known, and no longer listed when they are gone", async () => {
    const store = new MemoryStore();
    const repository = await newRepository(store);
    const base = await repository.commit(exampleManifest(1));
    const known = [base, await repository.commit(exampleManifest(2, continuing(base)))];
    const faulty = new FaultStore(store, { nth: 1, fault: "fail", calls: ["get"], onwards: true });
    const unread = new Repository(faulty, repository.id);
    expect(await unread.manifests(undefined, known)).toEqual(known);
    await store.delete(known[1]!.key);
    expect(await unread.manifests(undefined, known)).toEqual([base]);
  });

  test("are not committed on a parent that is gone or was replaced", async () => {
    const store = new MemoryStore();
    const repository = await newRepository(store);
    const base = await repository.commit(exampleManifest(1));
    const child = exampleManifest(2, continuing({ ...base, sha256: "0".repeat(64) }));
    await expect(repository.commit(child)).rejects.toThrow(IbackupError);
    await store.delete(base.key);
    const orphan = exampleManifest(2, continuing(base));
    await expect(repository.commit(orphan)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    expect(await repository.manifests()).toEqual([]);
  });

  test("that cannot be read throw, or are told to who asks", async () => {
    const store = new MemoryStore();
    const repository = await newRepository(store);
    const good = await repository.commit(exampleManifest(1));
    const bad = await repository.commit(exampleManifest(2));
    const { key } = bad;
    store.objects.set(key, store.objects.get(key)!.slice(0, -1));
    await expect(repository.manifests()).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    const damaged: string[] = [];
    expect(await repository.manifests((one) => damaged.push(one.key))).toEqual([good]);
    expect(damaged).toEqual([key]);
  });

  test("are not listed as gone when the store does not answer", async () => {
    const inner = new MemoryStore();
    await (await newRepository(inner)).commit(exampleManifest(1));
    const faulty = new FaultStore(inner, { nth: 2, fault: "fail", calls: ["get"] });
    const repository = await openRepository(faulty);
    const listing = repository.manifests(() => undefined);
    await expect(listing).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
  });
});
