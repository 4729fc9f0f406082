import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { makeRepository, type TestRepository } from "./repository.ts";
import { type Ended, jsonOf, runCli } from "./run_cli.ts";

let made: TestRepository;
/** Of one disk, every six hours from 20 November on. */
let ids: string[];

beforeEach(async () => {
  made = await makeRepository();
  ids = [];
  let parent: Awaited<ReturnType<TestRepository["add"]>> | undefined;
  for (const day of [20, 21, 22]) {
    for (const hour of ["00", "06", "12", "18"]) {
      const backupId = `202611${day}T${hour}0000Z-${String(ids.length).padStart(8, "0")}`;
      parent = await made.add({ backupId, diskName: "vda" }, parent);
      ids.push(backupId);
    }
  }
  await made.add({ backupId: "20261101T000000Z-000000ff", diskName: "vdb" });
});
afterEach(() => made.remove());

function cli(...args: string[]): Ended {
  return runCli([...args, "--repo", made.url]);
}

function listed(disk = "vda"): string[] {
  const { backups } = jsonOf(cli("list", "--json", "--disk", disk)) as {
    backups: { backupId: string }[];
  };
  return backups.map(({ backupId }) => backupId);
}

describe("prune", () => {
  test("shows each backup with its reasons, and removes nothing, in a dry run", () => {
    const { status, stdout, stderr } = cli("prune", "--keep-last=2", "--keep-daily=2", "--dry-run");
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: "9 backups would be removed, 4 backups kept\n",
    });
    expect(stdout).toContain(
      `keep    ${ids[7]}  web-1  vda   2026-11-21 18:00:00Z  daily 2026-11-21`,
    );
    expect(stdout).toContain(
      `remove  ${ids[0]}  web-1  vda   2026-11-20 00:00:00Z  no rule keeps it`,
    );
    expect(listed()).toEqual(ids);
  });

  test("removes what the policy does not keep, of each disk by itself", () => {
    cli("tag", "add", ids[1]!, "audit");
    cli("protect", ids[2]!);
    const ended = cli("prune", "--keep-daily", "1", "--keep-tag", "audit", "--json");
    expect(ended.status).toBe(0);
    expect((jsonOf(ended)["removed"] as string[]).length).toBe(9);
    expect(listed()).toEqual([ids[1], ids[2], ids[11]]);
    expect(listed("vdb")).toHaveLength(1);
    const { backups } = jsonOf(cli("list", "--json")) as { backups: Record<string, unknown>[] };
    expect(backups.find(({ backupId }) => backupId === ids[1])).toMatchObject({
      type: "base",
      tags: ["audit"],
      protected: false,
    });
    expect(backups.find(({ backupId }) => backupId === ids[11])).toMatchObject({
      type: "incremental",
      parentId: ids[2],
    });
  });

  test("removes what is named, unless it is protected or the last one", () => {
    cli("protect", ids[4]!);
    expect(cli("prune", ids[4]!).stderr).toContain("it is protected");
    expect(cli("unprotect", ids[4]!).stdout).toBe(`${ids[4]}: nothing said\n`);
    expect(cli("prune", ids[4]!, ids[11]!).stderr).toBe("2 backups removed, 11 backups kept\n");
    expect(listed()).toEqual(ids.filter((id) => id !== ids[4] && id !== ids[11]));
    expect(cli("prune", "20261101").status).toBe(EXIT_STATUS.USAGE);
    expect(cli("prune", "20261101", "--force").status).toBe(0);
    expect(listed("vdb")).toEqual([]);
  });

  test("shows over the coming days what would be kept", () => {
    const { stdout } = cli(
      "prune",
      "--keep-last=2",
      "--keep-daily=3",
      "--simulate=3",
      "--disk=vda",
    );
    expect(stdout).toBe(`\
vda of web-1:
DAY         TAKEN  REMOVED  KEPT  OLDEST
2026-11-23      4       12     4  2026-11-21 18:00:00Z
2026-11-24      4        4     4  2026-11-22 18:00:00Z
2026-11-25      4        4     4  2026-11-23 18:00:00Z
`);
    expect(listed()).toEqual(ids);
  });

  test("removes what cannot be read when it is told to", () => {
    const tags = readdirSync(join(made.folder, "manifests"));
    const objects = tags.map((tag) => `manifests/${tag}/0000000003`);
    const object = objects.find((it) => existsSync(join(made.folder, it)))!;
    const path = join(made.folder, object);
    chmodSync(path, 0o600);
    writeFileSync(path, "ibackup-manifest");
    const { status, stderr } = cli("gc");
    expect(status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(stderr).toContain("ibackup prune --damaged --dry-run");
    const dry = cli("prune", "--damaged", "--dry-run");
    expect(dry.stderr).toBe("1 object would be removed\n");
    expect(dry.stdout).toContain(`${object}: `);
    expect(dry.stdout).toContain(`cannot be restored then: ${ids.slice(4).join(", ")}\n`);
    expect(jsonOf(cli("prune", "--damaged", "--json"))).toMatchObject({ removed: [object] });
    expect(cli("gc")).toMatchObject({ status: 0 });
    expect(listed()).toEqual(ids.filter((id) => id !== ids[3]));
  });

  test.each([
    [["prune"], "no backup was named"],
    [["prune", "--keep-last", "0"], "whole number from 1"],
    [["prune", "2026", "--keep-last", "3"], "both backups and --keep options"],
    [["prune", "--damaged", "--keep-last", "3"], "about nothing else"],
    [["tag", "add", "latest", "a b", "--disk", "vda"], "not 1 to 64 letters"],
  ])("%j is a wrong use", (args, why) => {
    const { status, stderr } = cli(...args);
    expect(status).toBe(EXIT_STATUS.USAGE);
    expect(stderr).toContain(why);
  });
});

describe("rebase", () => {
  test("makes an incremental a base, once", () => {
    expect(cli("rebase", "latest", "--disk", "vda").stdout).toBe(`${ids[11]} is a base now\n`);
    expect(cli("rebase", ids[11]!).stdout).toBe(`${ids[11]} is a base already\n`);
    expect(jsonOf(cli("show", ids[11]!, "--json"))["chain"]).toEqual([ids[11]]);
  });
});

describe("gc", () => {
  test("says what it removed, and what it would", () => {
    cli("prune", "--keep-last", "1");
    const dry = cli("gc", "--grace", "0s", "--dry-run");
    expect(dry).toMatchObject({ status: 0, stderr: "" });
    // Of each removed backup its map, but for what holds the place of the newest: it is still there.
    expect(dry.stdout).toMatch(
      /^Would remove 0 packs, 0 index objects, 11 documents: [\d.]+ KiB\n$/,
    );
    expect(jsonOf(cli("gc", "--grace", "0", "--json"))).toMatchObject({ documents: 11 });
    expect(jsonOf(cli("gc", "--grace", "0", "--json"))).toMatchObject({ documents: 0 });
    expect(listed()).toEqual([ids[11]]);
  });
});
