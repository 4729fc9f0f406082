import { spawnSync } from "node:child_process";
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
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installExecutable } from "../../src/runtime/install_executable.ts";

const SCRIPT = new TextEncoder().encode("#!/bin/sh\necho genuine\n");
const EVIL = "#!/bin/sh\necho evil\n";

const NOBODY = 65_534;

/** What the installed file prints. */
function run(path: string): string {
  return spawnSync(path, { encoding: "utf8" }).stdout;
}

describe("installExecutable()", () => {
  let scratch: string;
  let safe: string;

  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "ibackup-install-"));
    safe = join(scratch, "safe");
  });
  afterEach(() => {
    spawnSync("umount", ["-q", join(scratch, "noexec")]);
    rmSync(scratch, { recursive: true });
  });

  test("makes the folder and writes a file that only we can write", async () => {
    const path = await installExecutable("tool", SCRIPT, [safe]);
    expect(path).toMatch(/\/safe\/tool-[0-9a-f]{64}$/);
    expect(run(path)).toBe("genuine\n");
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(safe).mode & 0o777).toBe(0o700);
  });

  test("uses the same file the next time, and leaves no drafts", async () => {
    const first = await installExecutable("tool", SCRIPT, [safe]);
    const inode = statSync(first).ino;
    expect(await installExecutable("tool", SCRIPT, [safe])).toBe(first);
    expect(statSync(first).ino).toBe(inode);
    expect(readdirSync(safe)).toHaveLength(1);
  });

  test("replaces a file whose content, mode or owner is not what it should be", async () => {
    const path = await installExecutable("tool", SCRIPT, [safe]);
    const spoil = [
      () => writeFileSync(path, EVIL),
      () => writeFileSync(path, SCRIPT.subarray(0, 4)),
      () => chmodSync(path, 0o777),
      () => chmodSync(path, 0o600),
      () => chownSync(path, NOBODY, NOBODY),
    ];
    for (const change of spoil) {
      change();
      expect(await installExecutable("tool", SCRIPT, [safe])).toBe(path);
      expect(run(path)).toBe("genuine\n");
      expect(statSync(path)).toMatchObject({ uid: 0, mode: 0o100_700 });
    }
  });

  test("replaces a link without writing to where it leads", async () => {
    const path = await installExecutable("tool", SCRIPT, [safe]);
    const precious = join(scratch, "precious");
    writeFileSync(precious, "precious");
    rmSync(path);
    symlinkSync(precious, path);
    expect(run(await installExecutable("tool", SCRIPT, [safe]))).toBe("genuine\n");
    expect(readFileSync(precious, "utf8")).toBe("precious");
  });

  test("passes over a folder that others can write, or that is another user's", async () => {
    const shared = join(scratch, "shared");
    const foreign = join(scratch, "foreign");
    const underForeign = join(foreign, "below");
    mkdirSync(shared);
    chmodSync(shared, 0o777);
    mkdirSync(underForeign, { recursive: true });
    chownSync(foreign, NOBODY, NOBODY);
    const path = await installExecutable("tool", SCRIPT, [shared, foreign, underForeign, safe]);
    expect(dirname(path)).toBe(safe);
    expect(readdirSync(shared)).toEqual([]);
  });

  test("passes over a folder that is a link into a shared one", async () => {
    const shared = join(scratch, "shared");
    mkdirSync(shared);
    chmodSync(shared, 0o777);
    mkdirSync(join(shared, "own"), { mode: 0o700 });
    symlinkSync(join(shared, "own"), join(scratch, "link"));
    const path = await installExecutable("tool", SCRIPT, [join(scratch, "link"), safe]);
    expect(dirname(path)).toBe(safe);
  });

  test("passes over a folder that is mounted noexec", async () => {
    const noexec = join(scratch, "noexec");
    mkdirSync(noexec);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "noexec,mode=700", "tmpfs", noexec]);
    expect(mounted.status).toBe(0);
    const path = await installExecutable("tool", SCRIPT, [noexec, safe]);
    expect(dirname(path)).toBe(safe);
  });

  test("passes over a path that is not a folder, and one where a folder is in the way", async () => {
    const file = join(scratch, "file");
    writeFileSync(file, "");
    const path = await installExecutable("tool", SCRIPT, [safe]);
    const blocked = join(scratch, "blocked");
    renameSync(safe, blocked);
    rmSync(join(blocked, path.slice(safe.length)));
    mkdirSync(join(blocked, path.slice(safe.length)));
    expect(dirname(await installExecutable("tool", SCRIPT, [file, blocked, safe]))).toBe(safe);
  });

  test("falls back to a private folder that is gone when the process ends", () => {
    const program = `
      import { installExecutable } from "${join(import.meta.dirname, "../../src/runtime/install_executable.ts")}";
      console.log(await installExecutable("tool", new TextEncoder().encode("#!/bin/sh\\n"), ["/proc/nowhere"]));
    `;
    const script = join(scratch, "program.ts");
    writeFileSync(script, program);
    const { stdout } = spawnSync(process.execPath, [script], { encoding: "utf8" });
    expect(stdout).toMatch(/^\/tmp\/ibackup-\w+\/tool-[0-9a-f]{64}\n$/);
    expect(existsSync(dirname(stdout))).toBe(false);
  });
});
