/** Another runtime reads what the binary wrote. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestOf, shell } from "../support/machine.ts";
import { canTrack, Site } from "../support/site.ts";

const ROOT = join(import.meta.dirname, "../..");
const DENO = join(ROOT, "node_modules/.bin/deno");

describe.runIf(canTrack() && existsSync(DENO))("under Deno", () => {
  let site: Site;
  let backups: { backupId: string; digest: string }[];

  beforeAll(() => {
    site = new Site();
    site.init();
    const source = site.machine.loopDisk("source", (48 << 20) + 1536);
    shell(`head -c 20M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
    backups = [0, 1, 2].map((round) => {
      shell(
        `head -c 2M /dev/urandom | dd of=${source} bs=1M seek=${9 * round} oflag=direct status=none`,
      );
      return { backupId: site.flush(source).backupId, digest: digestOf(source) };
    });
  });
  afterAll(() => site.close());

  test("the repository of the Bun binary is listed, shown and verified", () => {
    const list = JSON.parse(deno("list", "--json"));
    expect(list).toEqual(site.json("list"));
    expect(deno("show", "latest")).toBe(site.must("show", "latest"));
    expect(JSON.parse(deno("verify", "--data", "--json"))).toMatchObject({ healthy: true });
  });

  test("each backup is restored to the same bytes", () => {
    for (const { backupId, digest } of backups) {
      const image = site.machine.path(backupId);
      deno("restore", backupId, "--target", image, "--verify");
      expect(digestOf(image)).toBe(digest);
    }
  });

  test("errors have their three parts and their exit status", () => {
    const { status, stderr } = runDeno("show", "20200101T000000Z-00000000");
    expect(status).toBe(17);
    expect(stderr).toMatch(/error: .+\n {2}why: .+\n {2}fix: .+/);
  });

  function runDeno(...args: string[]) {
    return spawnSync(DENO, ["run", "-A", join(ROOT, "src/main.ts"), ...args], {
      encoding: "utf8",
      cwd: ROOT,
      env: {
        PATH: env["PATH"] ?? "",
        HOME: env["HOME"] ?? "/root",
        ...site.machine.environment,
        ...site.options.env,
      },
    });
  }

  function deno(...args: string[]): string {
    const { status, stdout, stderr } = runDeno(...args);
    if (status !== 0) throw new Error(`deno ${args.join(" ")}: status ${status}\n${stderr}`);
    return stdout;
  }
});
