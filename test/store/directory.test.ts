import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execPath } from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { DirectoryStore } from "../../src/store/directory.ts";
import { bytesOf, describeStoreContract, listed } from "./contract.ts";

const home = mkdtempSync(join(tmpdir(), "ibackup-directory-"));
afterAll(() => rmSync(home, { recursive: true }));

describeStoreContract("A directory store", async () => new DirectoryStore(join(home, "contract")));

let count = 0;
let root: string;
let store: DirectoryStore;
beforeEach(() => {
  count += 1;
  root = join(home, `root-${count}`);
  store = new DirectoryStore(root);
});

const ONE = new Uint8Array([1]);

describe("A directory store", () => {
  test("makes its folder at the first put, not before, and for its owner only", async () => {
    const deep = new DirectoryStore(join(root, "a/b"));
    expect(await deep.head("x")).toBeUndefined();
    expect(await listed(deep, "")).toEqual([]);
    expect(await deep.probe()).toMatchObject({ readable: false, writable: false });
    expect(existsSync(root)).toBe(false);

    await deep.put("packs/aa/x", ONE);
    for (const folder of ["", "a", "a/b", "a/b/packs", "a/b/packs/aa"]) {
      expect(statSync(join(root, folder)).mode & 0o777).toBe(0o700);
    }
    expect(statSync(join(root, "a/b/packs/aa/x")).mode & 0o777).toBe(0o600);
  });

  test("follows the link that the user named as its folder", async () => {
    mkdirSync(root);
    symlinkSync(root, `${root}-link`);
    await new DirectoryStore(`${root}-link`).put("x", ONE);
    expect(await bytesOf(store, "x")).toEqual([1]);
  });

  test("leaves other files alone: lost+found, hidden ones, temporary ones", async () => {
    mkdirSync(join(root, "lost+found"), { recursive: true });
    writeFileSync(join(root, ".hidden"), "x");
    await store.put("a", ONE);
    writeFileSync(join(root, ".tmp-0123"), "left behind a moment ago");
    expect(await listed(store, "")).toEqual([{ key: "a", sizeBytes: 1 }]);
    await store.put("b", ONE);
    expect(readdirSync(root).sort()).toEqual([".hidden", ".tmp-0123", "a", "b", "lost+found"]);
  });

  test("sweeps what a killed put left behind a day ago", async () => {
    mkdirSync(root);
    const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
    for (const name of [".tmp-old", ".tmp-new", ".other"]) writeFileSync(join(root, name), "x");
    for (const name of [".tmp-old", ".other"]) utimesSync(join(root, name), yesterday, yesterday);
    await store.put("a", ONE);
    expect(readdirSync(root).sort()).toEqual([".other", ".tmp-new", "a"]);
  });

  test("leaves no temporary file behind, whether a put succeeds or not", async () => {
    await store.put("a", ONE);
    await store.putIfAbsent("b", ONE);
    await store.putIfAbsent("b", ONE);
    await expect(store.put("a/under-a-file", ONE)).rejects.toThrow();
    expect(readdirSync(root).sort()).toEqual(["a", "b"]);
  });
});

describe("A directory store refuses", () => {
  const refusal = { code: "STORE_DENIED" };

  test("a folder that everyone may write to, and says how to change that", async () => {
    mkdirSync(root);
    chmodSync(root, 0o777);
    await expect(store.put("a", ONE)).rejects.toMatchObject({
      ...refusal,
      why: "every user may write there (mode 777)",
      fix: `run \`chmod 700 ${root}\``,
    });
    await expect(store.head("a")).rejects.toMatchObject(refusal);
    expect((await store.probe()).problems).toEqual([expect.stringContaining("mode 777")]);
    chmodSync(root, 0o700);
    await store.put("a", ONE);
  });

  test("a folder that belongs to somebody else", async () => {
    mkdirSync(root);
    chownSync(root, 4242, 4242);
    await expect(listed(store, "")).rejects.toMatchObject({
      ...refusal,
      why: expect.stringContaining("belongs to user 4242"),
    });
  });

  test("a file where its folder should be", async () => {
    writeFileSync(root, "x");
    await expect(store.put("a", ONE)).rejects.toMatchObject(refusal);
  });

  test("a link in place of a folder inside, and writes nothing through it", async () => {
    const elsewhere = `${root}-elsewhere`;
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "secret"), "x");
    await store.put("a", ONE);
    symlinkSync(elsewhere, join(root, "packs"));
    await expect(store.put("packs/x", ONE)).rejects.toMatchObject(refusal);
    await expect(store.putIfAbsent("packs/x", ONE)).rejects.toMatchObject(refusal);
    await expect(store.get("packs/secret", { maxBytes: 9 })).rejects.toMatchObject(refusal);
    await expect(store.delete("packs/secret")).rejects.toMatchObject(refusal);
    await expect(listed(store, "packs/")).rejects.toMatchObject(refusal);
    await expect(listed(store, "")).rejects.toMatchObject(refusal);
    expect(readdirSync(elsewhere)).toEqual(["secret"]);
  });

  test("to read through a link in place of an object, and replaces the link by a put", async () => {
    writeFileSync(`${root}-target`, "precious");
    await store.put("a", ONE);
    symlinkSync(`${root}-target`, join(root, "b"));
    await expect(store.get("b", { maxBytes: 9 })).rejects.toMatchObject(refusal);
    await expect(store.head("b")).rejects.toMatchObject(refusal);
    await expect(store.getRange("b", { offset: 0, length: 1 })).rejects.toMatchObject(refusal);
    await store.put("b", ONE);
    expect(await bytesOf(store, "b")).toEqual([1]);
    expect(readFileSync(`${root}-target`, "utf8")).toBe("precious");
  });

  test("a pipe in place of an object, without waiting for its writer", async () => {
    await store.put("a", ONE);
    await run("mkfifo", [join(root, "pipe")]);
    await expect(store.get("pipe", { maxBytes: 9 })).rejects.toMatchObject(refusal);
  });
});

describe("A directory store on a small file system", () => {
  /** Runs `work` with a file system mounted at the folder of the store. */
  async function mounted(options: string, work: () => Promise<void>): Promise<void> {
    mkdirSync(root);
    await run("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "ibackup-test", root]);
    try {
      await work();
    } finally {
      await run("umount", ["--lazy", root]);
    }
  }

  test("says that it is full, removes its temporary file, and goes on when there is room", async () => {
    await mounted("size=1m", async () => {
      const third = new Uint8Array(300_000);
      for (const key of ["a", "b", "c"]) await store.put(key, third);
      for (const write of [() => store.put("d", third), () => store.putIfAbsent("d", third)]) {
        await expect(write()).rejects.toMatchObject({ code: "STORE_FULL" });
      }
      expect(readdirSync(root).sort()).toEqual(["a", "b", "c"]);
      await store.delete("a");
      await store.put("d", third);
    });
  });

  test("says that it is read-only", async () => {
    await mounted("size=1m", async () => {
      await store.put("a", ONE);
      await run("mount", ["-o", "remount,ro", root]);
      await expect(store.put("b", ONE)).rejects.toMatchObject({ code: "STORE_DENIED" });
      expect(await bytesOf(store, "a")).toEqual([1]);
    });
  });

  test("does not take the empty mount point for its folder when the file system goes", async () => {
    await mounted("size=1m", async () => {
      await store.put("a", ONE);
    });
    const gone = { code: "STORE_UNREACHABLE" };
    await expect(store.put("b", ONE)).rejects.toMatchObject(gone);
    await expect(store.get("a", { maxBytes: 1 })).rejects.toMatchObject(gone);
    await expect(store.delete("a")).rejects.toMatchObject(gone);
    await expect(listed(store, "")).rejects.toMatchObject(gone);
    expect(readdirSync(root)).toEqual([]);
  });

  test("notices that its folder was moved away", async () => {
    await store.put("a", ONE);
    renameSync(root, `${root}-moved`);
    await expect(store.put("b", ONE)).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
    expect(existsSync(root)).toBe(false);
  });
});

describe("A directory store whose writer is killed", () => {
  // Methodology: the killed writer fills each object with one byte value, and all are 1,000,000
  // bytes long. Whatever a reader can see afterwards has to be exactly that.
  test("holds whole objects only, twenty kills over", async () => {
    // In memory: what the kernel has taken survives a kill there as well, and it is quick.
    const memory = mkdtempSync("/dev/shm/ibackup-killed-");
    onTestFinished(() => rmSync(memory, { recursive: true }));
    const killed = new DirectoryStore(join(memory, "root"));
    for (let round = 0; round < 20; round++) {
      await putUntilKilled(join(memory, "root"), round);
      const objects = await listed(killed, "");
      expect(objects.length).toBeGreaterThan(0);
      for (const { key, sizeBytes } of objects) {
        const body = await killed.get(key, { maxBytes: sizeBytes });
        expect(sizeBytes, key).toBe(1_000_000);
        expect(body && Buffer.alloc(sizeBytes, body[0]).equals(body), key).toBe(true);
      }
    }
  });
});

/** Kills the writer in the middle of what it does, `afterMs` after it has put a few objects. */
async function putUntilKilled(folder: string, afterMs: number): Promise<void> {
  const program = fileURLToPath(new URL("../support/put_forever.ts", import.meta.url));
  const child = spawn(execPath, [program, folder], { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), afterMs));
  child.stdout.resume();
  await new Promise((resolve) => child.once("close", resolve));
  expect(child.signalCode).toBe("SIGKILL");
}

async function run(program: string, words: string[]): Promise<void> {
  const child = spawn(program, words, { stdio: ["ignore", "inherit", "inherit"] });
  const status = await new Promise((resolve) => child.once("close", resolve));
  expect(status, `${program} ${words.join(" ")}`).toBe(0);
}
