import { appendFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { backupOf } from "../support/backups.ts";
import { makeRepository, type TestRepository } from "./repository.ts";
import { type Ended, jsonOf, runCli } from "./run_cli.ts";

const BASE = "20261122T170102Z-00000001";
const INCREMENTAL = "20261122T180102Z-00000002";
const OTHER_DISK = "20261122T190102Z-00000003";
const OTHER_VM = "20261122T200102Z-00000004";

let made: TestRepository;
/** Keys of manifests. */
let baseKey: string;
let otherDiskKey: string;

beforeEach(async () => {
  made = await makeRepository();
  const base = await made.add({ backupId: BASE, diskName: "vda", bytesStored: 5_244_075 });
  const changes = { blocksChanged: 1234, bytesStored: 20_655, consistency: "fuzzy" as const };
  await made.add({ backupId: INCREMENTAL, diskName: "vda", ...changes }, base);
  baseKey = base.key;
  otherDiskKey = (await made.add({ backupId: OTHER_DISK, diskName: "vdb" })).key;
  await made.add({ backupId: OTHER_VM, diskName: "vda", vmId: "web-2" });
});
afterEach(() => made.remove());

function cli(...args: string[]): Ended {
  return runCli([...args, "--repo", made.url]);
}

function idsOf(ended: Ended): string[] {
  const { backups } = jsonOf(ended) as { backups: { backupId: string }[] };
  return backups.map(({ backupId }) => backupId);
}

describe("list", () => {
  test("prints the catalogue of figure 6 as a table, oldest first", () => {
    const { status, stdout, stderr } = cli("list");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toBe(`\
BACKUP                     VM     DISK  TYPE                       DATE AND TIME         CONSISTENCY      SIZE
${BASE}  web-1  vda   base                       2026-11-22 17:01:02Z  quiet           5 MiB
${INCREMENTAL}  web-1  vda   incremental, 1,234 blocks  2026-11-22 18:01:02Z  fuzzy        20.2 KiB
${OTHER_DISK}  web-1  vdb   base                       2026-11-22 19:01:02Z  quiet             0 B
${OTHER_VM}  web-2  vda   base                       2026-11-22 20:01:02Z  quiet             0 B
`);
  });

  test("prints JSON of the shape that scripts rely on", () => {
    const ended = cli("list", "--json", "--vm", "web-1", "--disk", "vda");
    expect(jsonOf(ended)).toEqual({
      backups: [
        {
          backupId: BASE,
          vmId: "web-1",
          disk: "vda",
          type: "base",
          capturedAt: "2026-11-22T17:01:02.000Z",
          parentId: null,
          consistency: "quiet",
          blocksChanged: 0,
          bytesStored: 5_244_075,
          tags: [],
          protected: false,
          blocksLost: 0,
        },
        {
          backupId: INCREMENTAL,
          vmId: "web-1",
          disk: "vda",
          type: "incremental",
          capturedAt: "2026-11-22T18:01:02.000Z",
          parentId: BASE,
          consistency: "fuzzy",
          blocksChanged: 1234,
          bytesStored: 20_655,
          tags: [],
          protected: false,
          blocksLost: 0,
        },
      ],
    });
  });

  test("narrows down by VM and by disk", () => {
    expect(idsOf(cli("list", "--json"))).toEqual([BASE, INCREMENTAL, OTHER_DISK, OTHER_VM]);
    expect(idsOf(cli("list", "--json", "--vm", "web-2"))).toEqual([OTHER_VM]);
    expect(idsOf(cli("list", "--json", "--disk", "vdb"))).toEqual([OTHER_DISK]);
    expect(idsOf(cli("list", "--json", "--vm", "nobody"))).toEqual([]);
  });

  test("names a manifest that cannot be read, lists the others, and says so by its status", () => {
    appendFileSync(join(made.folder, otherDiskKey), "x");
    const ended = cli("list", "--json");
    expect(idsOf(ended)).toEqual([BASE, INCREMENTAL, OTHER_VM]);
    expect(ended.stderr).toContain(`warning: Cannot use "${otherDiskKey}"`);
    expect(ended.status).toBe(EXIT_STATUS.CORRUPT_DATA);
  });
});

describe("show", () => {
  test("prints the manifest, its hash and its chain as JSON", async () => {
    const { manifest, sha256 } = await backupOf(made.repository, INCREMENTAL);
    expect(jsonOf(cli("show", INCREMENTAL, "--json"))).toEqual({
      manifest,
      manifestSha256: sha256,
      chain: [BASE, INCREMENTAL],
      problem: null,
    });
  });

  test("prints the same for people", () => {
    const { stdout, status } = cli("show", INCREMENTAL);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^parent: +20261122T170102Z-00000001$/m);
    expect(stdout).toMatch(/^gap check: +trusted: every write since the parent was seen$/m);
  });

  test("shows a backup whose chain is broken, and says where", () => {
    rmSync(join(made.folder, baseKey));
    const shown = jsonOf(cli("show", INCREMENTAL, "--json"));
    expect(shown).toMatchObject({ chain: null, problem: expect.stringContaining("is missing") });
  });

  test.each([
    ["the beginning of an id", ["20261122T18"], INCREMENTAL],
    ["latest, of one disk", ["latest", "--vm", "web-1", "--disk", "vda"], INCREMENTAL],
    ["latest, of a VM with one disk", ["latest", "--vm", "web-2"], OTHER_VM],
    ["latest, of a disk that one VM has", ["latest", "--disk", "vdb"], OTHER_DISK],
  ])("takes %s", (_, args, backupId) => {
    expect(jsonOf(cli("show", ...args, "--json"))).toMatchObject({ manifest: { backupId } });
  });

  test("asks which disk is meant where several could be, and lists them", () => {
    const { status, stderr } = cli("show", "latest");
    expect(status).toBe(EXIT_STATUS.USAGE);
    expect(stderr).toContain("--vm web-1 --disk vda; --vm web-1 --disk vdb; --vm web-2 --disk vda");
  });

  test.each([
    ["an unknown id", ["20261122T170102Z-ffffffff"], "there is no backup of that id"],
    ["the beginning of several", ["2026"], "4 backups begin so"],
    ["a disk that is not there", ["latest", "--disk", "vdz"], "there is no backup yet"],
  ])("does not know %s", (_, args, why) => {
    const { status, stderr } = cli("show", ...args);
    expect(stderr).toContain(why);
    expect(status).toBe(EXIT_STATUS.BACKUP_UNKNOWN);
  });

  test("refuses a damaged manifest, and to call another one the latest", () => {
    appendFileSync(join(made.folder, otherDiskKey), "x");
    expect(cli("show", OTHER_DISK).status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(cli("show", "latest", "--disk", "vda").status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(cli("show", BASE).status).toBe(0);
  });
});
