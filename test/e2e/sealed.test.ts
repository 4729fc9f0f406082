/** Backups that their own machine cannot read. */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { createDecipheriv, hkdfSync } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { Decrypter, generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { isLong } from "../support/long.ts";
import { digestOf, run, shell } from "../support/machine.ts";
import { canTrack, type SealedSite, Site } from "../support/site.ts";

const READER = join(import.meta.dirname, "../reader/reader.mjs");

/** What nothing in the repository or on the machine may give away. */
const MARK = "the combination of the safe is 7-31-12";

describe.runIf(canTrack())("a machine that has the public key only", () => {
  let site: Site;
  let sealed: SealedSite;
  let source: string;
  const backups: { backupId: string; digest: string }[] = [];

  beforeAll(async () => {
    site = new Site();
    sealed = await site.initSealed();
    source = site.machine.loopDisk("source", (40 << 20) + 1536);
    shell(`head -c 20M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    const marks = site.machine.path("marks");
    writeFileSync(
      marks,
      `${MARK}
`
        .repeat(32_768)
        .slice(0, 1 << 20),
    );
    run("dd", `if=${marks}`, `of=${source}`, "bs=1M", "seek=22", "oflag=direct", "status=none");
    rmSync(marks);
    site.must("track", "start", source);
    for (const seek of [0, 9, 18]) {
      shell(
        `head -c 2M /dev/urandom | dd of=${source} bs=1M seek=${seek} oflag=direct status=none`,
      );
      const { backupId } = site.flush(source);
      backups.push({ backupId, digest: digestOf(source) });
    }
    // What was written there is of an earlier backup now.
    run("dd", "if=/dev/zero", `of=${source}`, "bs=1M", "seek=22", "count=1", "oflag=direct");
    backups.push({ backupId: site.flush(source).backupId, digest: digestOf(source) });
  });
  afterAll(() => site.close());

  test("takes a base and incrementals, lists them, and checks that nothing is missing", () => {
    const { backups: listed } = site.json<{ backups: { type: string }[] }>("list");
    expect(listed.map(({ type }) => type)).toEqual(["base", ...Array(3).fill("incremental")]);
    expect(site.must("verify")).toMatch(/^No problem found: 4 backups/);
    expect(site.must("show", "latest")).toContain("sealed; --identity-file");
  });

  test("can restore, compare and read none of them", () => {
    const target = site.machine.path("refused.img");
    const [{ backupId } = { backupId: "" }] = backups;
    const commands = [
      ["restore", backupId, "--target", target],
      ["restore", backupId, "--target", target, "--partial"],
      ["verify", "--data"],
      ["compare", backupId, source],
    ];
    for (const command of commands) {
      const { status, stderr } = site.run(...command);
      expect({ command, status }).toEqual({ command, status: EXIT_STATUS.NO_KEY });
      expect(stderr).toContain("--identity-file");
    }
    expect(spawnSync("test", ["-s", target]).status).not.toBe(0);
  });

  test("has no command that gives a stolen machine a byte of them", () => {
    const [{ backupId } = { backupId: "" }] = backups;
    const copy = site.machine.path("stolen-copy");
    const commands = [
      ["list", "--json"],
      ["show", backupId, "--json"],
      ["restore", backupId, "--target", "-"],
      ["restore", "latest", "--target", site.machine.path("stolen.img"), "--partial"],
      ["compare", backupId, source, "--json"],
      ["verify", "--data", "--json"],
      ["verify", "--json", "--repair", source],
      ["copy", "--to", `file://${copy}`],
      ["gc", "--grace", "0s", "--dry-run"],
      ["key", "list", "--json"],
      ["key", "export"],
      ["key", "add", "--recipient", sealed.recipient],
      ["key", "remove", "0123456789abcdef"],
    ];
    for (const command of commands) {
      const { stdout, stderr } = site.run(...command);
      expect(`${stdout}${stderr}`).not.toContain(MARK);
      expect(`${stdout}${stderr}`).not.toContain("AGE-SECRET-KEY-1");
    }
    expect(filesBelow(copy).filter((bytes) => bytes.includes(MARK))).toEqual([]);
    rmSync(copy, { recursive: true });
  });

  test("has them restored by whoever has the identity", () => {
    for (const { backupId, digest } of backups) {
      const image = site.machine.path(backupId);
      site.restore(backupId, image, "--verify", "--identity-file", sealed.identityFile);
      expect(digestOf(image)).toBe(digest);
    }
    const options = ["--data", "--identity-file", sealed.identityFile];
    expect(site.must("verify", ...options)).toMatch(/^No problem found: 4 backups/);
  });

  test("keeps nothing that opens a backup, or that was in one", async () => {
    const repository = new URL(site.repo).pathname;
    const folders = [
      site.machine.runtimeFolder,
      site.machine.cacheFolder,
      site.machine.stateFolder,
    ];
    const left = [repository, ...folders].flatMap(filesBelow);
    expect(left.filter((bytes) => bytes.includes(MARK))).toEqual([]);
    expect(left.filter((bytes) => bytes.includes("AGE-SECRET-KEY-1"))).toEqual([]);
    const wrapped = wrappedKeysIn(repository);
    expect(wrapped.length).toBeGreaterThanOrEqual(backups.length * 3);
    for (const file of wrapped) {
      const age = new Decrypter();
      for (const secret of secretsIn(folders)) age.addIdentity(secret);
      age.addPassphrase("");
      await expect(age.decrypt(file)).rejects.toThrow();
    }
  });

  test("holds no 32 bytes that are the key of a backup", () => {
    const { machine } = site;
    const parts = sealedParts(new URL(site.repo).pathname);
    expect(new Set(parts.map(({ kind }) => kind)).size).toBe(2);
    const files = [machine.runtimeFolder, machine.cacheFolder, machine.stateFolder];
    let tried = 0;
    for (const bytes of files.flatMap(filesBelow)) {
      for (let at = 0; at + 32 <= bytes.length; at += isLong ? 1 : 4) {
        const candidate = bytes.subarray(at, at + 32);
        if (parts.some((part) => opens(part, candidate))) throw new Error(`a key at ${at}`);
        tried += 1;
      }
    }
    expect(tried).toBeGreaterThan(1000);
  });

  test("compares by digests after a gap, and takes a base when they are lost", () => {
    site.must("track", "stop");
    shell(`head -c 8192 /dev/urandom | dd of=${source} bs=4096 seek=77 oflag=direct status=none`);
    const compared = site.flush(source);
    expect(compared).toMatchObject({ type: "incremental", gapCheck: { verdict: "compared" } });
    expect(compared.blocksChanged).toBe(2);
    rmSync(site.machine.cacheFolder, { recursive: true });
    const { type, gapCheck } = site.flush(source);
    expect({ type, verdict: gapCheck.verdict }).toEqual({ type: "base", verdict: "base" });
    expect(gapCheck.reason).toMatch(/digests of its newest backup are lost.* needs an identity/);
  });

  test("removes a backup of the chain, and copies the others with their keys", () => {
    const [removed] = backups.splice(1, 1);
    site.must("prune", removed?.backupId ?? "");
    const copy = site.machine.path("copy");
    site.must("copy", "--to", `file://${copy}`);
    const { backupId, digest } = backups[1] ?? { backupId: "", digest: "" };
    const image = site.machine.path("from-copy");
    const { identityFile } = sealed;
    site.must(
      ...["restore", backupId, "--repo", `file://${copy}`],
      ...["--target", image, "--identity-file", identityFile],
    );
    expect(digestOf(image)).toBe(digest);
    site.must("gc", "--grace", "0s");
  });

  test("has backups that are sealed anew to somebody else's key in a repository of his own", async () => {
    const other = site.machine.path("other");
    const [file, recipient] = await newIdentity(site.machine.path("other-identity.txt"));
    site.must("init", "--recipient", recipient, "--repo", `file://${other}`);
    const refused = site.run("copy", "--to", `file://${other}`);
    expect(refused.status).toBe(EXIT_STATUS.NO_KEY);
    site.must("copy", "--to", `file://${other}`, "--identity-file", sealed.identityFile);
    const { backupId, digest } = backups.at(-1) ?? { backupId: "", digest: "" };
    const restore = ["restore", backupId, "--repo", `file://${other}`, "--target"];
    const image = site.machine.path("resealed");
    const own = site.run(...restore, `${image}-own`, "--identity-file", sealed.identityFile);
    expect(own.status).toBe(EXIT_STATUS.NO_KEY);
    site.must(...restore, image, "--identity-file", file);
    expect(digestOf(image)).toBe(digest);
    site.must("verify", "--data", "--repo", `file://${other}`, "--identity-file", file);
  });

  test("has backups that a reader written from FORMAT.md alone restores", () => {
    expect(readFileSync(READER, "utf8").trimEnd().split("\n").length).toBeLessThan(200);
    expect(readFileSync(READER, "utf8")).not.toMatch(/from "\.|src\//);
    for (const { backupId, digest } of backups) {
      const target = site.machine.path(`independent-${backupId}`);
      const repository = new URL(site.repo).pathname;
      const words = [READER, repository, backupId, target, sealed.identityFile];
      const { status, stderr } = spawnSync(execPath, words, { env, encoding: "utf8" });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(digestOf(target)).toBe(digest);
    }
  });
});

async function newIdentity(file: string): Promise<[file: string, recipient: string]> {
  const identity = await generateX25519Identity();
  writeFileSync(file, `${identity}\n`, { mode: 0o600 });
  return [file, await identityToRecipient(identity)];
}

function filesBelow(folder: string): Buffer[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
}

/** Wherever an age file begins: it ends where its payload of a 32-byte key does. */
function wrappedKeysIn(folder: string): Buffer[] {
  return filesBelow(folder).flatMap((bytes) => {
    const start = bytes.indexOf("age-encryption.org/v1");
    const isDocument = bytes.subarray(0, 8).toString() === "ibackup-";
    if (isDocument) {
      const [, base64] = /"wrappedKey": "([^"]+)"/.exec(bytes.toString()) ?? [];
      return base64 === undefined ? [] : [Buffer.from(base64, "base64")];
    }
    if (start < 0) return [];
    const isPack = bytes.subarray(0, 6).toString() === "IBPACK";
    const length = bytes.readUInt16LE(isPack ? 8 : 28);
    return [bytes.subarray(start, start + length)];
  });
}

/** Whatever could be an identity in the files of the machine. */
function secretsIn(folders: readonly string[]): string[] {
  return folders.flatMap(filesBelow).flatMap((bytes) => {
    return bytes.toString("latin1").match(/AGE-SECRET-KEY-1[0-9A-Z]{58}/g) ?? [];
  });
}

/** FORMAT.md section 4. */
interface SealedPart {
  kind: string;
  context: Buffer;
  salt: Buffer;
  nonce: Buffer;
  publicPart: Buffer;
  sealed: Buffer;
}

/** The details of each manifest, and the records at the end of each pack. */
function sealedParts(repository: string): SealedPart[] {
  const { id } = JSON.parse(bodyOf(readFileSync(join(repository, "repository"))).toString());
  const context = (kind: string) => Buffer.from(`ibackup ${kind} ${id}`);
  const manifests = filesBelow(join(repository, "manifests")).map((bytes): SealedPart => {
    const body = bodyOf(bytes);
    const { seal, details } = JSON.parse(body.toString());
    const publicPart = body.subarray(0, body.indexOf('\n  "details": ') + 1);
    const [salt, sealed] = [Buffer.from(seal.salt, "base64"), Buffer.from(details, "base64")];
    const kind = "manifest";
    return { kind, context: context(kind), salt, nonce: Buffer.alloc(12), publicPart, sealed };
  });
  const packs = filesBelow(join(repository, "packs")).map((bytes): SealedPart => {
    const end = bytes.length - 40;
    const start = end - bytes.readUInt32LE(end);
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(start, 8);
    const [salt, sealed] = [bytes.subarray(10, 42), bytes.subarray(start, end)];
    const kind = "pack";
    return { kind, context: context(kind), salt, nonce, publicPart: Buffer.alloc(0), sealed };
  });
  return [...manifests, ...packs];
}

function bodyOf(document: Buffer): Buffer {
  return document.subarray(document.indexOf(10) + 1);
}

/** Whether these bytes are the data key of its backup, or the key of the object itself. */
function opens({ context, salt, nonce, publicPart, sealed }: SealedPart, candidate: Buffer) {
  const derived = Buffer.from(hkdfSync("sha256", candidate, salt, context, 32));
  return [candidate, derived].some((key) => {
    const cipher = createDecipheriv("aes-256-gcm", key, nonce);
    cipher.setAAD(Buffer.concat([context, Buffer.of(0), publicPart]));
    cipher.setAuthTag(sealed.subarray(-16));
    cipher.update(sealed.subarray(0, -16));
    try {
      cipher.final();
      return true;
    } catch {
      return false;
    }
  });
}
