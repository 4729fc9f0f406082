/**
 * The disk with the root file system, on which ibackup itself stands, frozen and thawed.
 *
 * The `frozen` hook copies the disk at the instant that the backup is to be of. Writers go on all the
 * while, so that a write that gets past the freeze makes the two differ. The long form also keeps a
 * repository on the root itself.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { type GuestRepository, lookInto, RepositoryDisk } from "../support/guest_repository.ts";
import { Machine, run, shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";

const MiB = 1 << 20;
const LONG = env["IBACKUP_LONG"] === "1";
const ROOT_BYTES = 256 * MiB;
const FUNCTIONS = readFileSync(join(import.meta.dirname, "root.sh"), "utf8");
const SCRIPT = `${FUNCTIONS}
flush_elsewhere
${LONG ? "flush_to_itself" : ""}
end
`;

/** In the order in which they are taken: the number is that of their copy. */
const ROUNDS = ["base", "incremental", ...(LONG ? ["own-base", "own-incremental"] : [])];

describe("the root file system", () => {
  const machine = new Machine();
  const root = machine.path("root.img");
  const copies = guestDisk(machine, "copies", ROUNDS.length * ROOT_BYTES);
  let repository: RepositoryDisk;
  let results: Map<string, Flushed>;

  function runInGuest(script: string, image: string): string {
    const disks = [repository.image, copies];
    const options = { root: image, disks, programs: ["/bin/dd", "fstrim"], timeLimitSeconds: 600 };
    const { status, stdout, stderr } = runGuest(machine, script, options);
    expect(status, stdout + stderr).toBe(0);
    return stdout;
  }

  beforeAll(() => {
    repository = new RepositoryDisk(machine, 512 * MiB);
    results = resultsOf(runInGuest(SCRIPT, root)) as Map<string, Flushed>;
  }, 620_000);
  afterAll(() => machine.close());

  test.each(ROUNDS)("is frozen for a backup: %s", (name) => {
    expect(results.get(name)).toMatchObject({
      consistency: "frozen",
      fileSystems: [{ mountpoint: "/", fileSystem: "ext4", outcome: "frozen" }],
      gapCheck: { verdict: name.endsWith("base") ? "base" : "trusted" },
      taints: [],
    });
  });

  test("comes back as it was in the instant of the freeze", () => {
    repository.look((opened) => expectFrozenCopies(opened, 0));
  });

  if (LONG) {
    test("comes back from a repository that stands on it", () => {
      const place = { image: machine.path("own.img"), folder: "var/backups/own" };
      run("cp", "--sparse=always", root, place.image);
      lookInto(machine, place, (opened) => expectFrozenCopies(opened, 2));
    });
  }

  test("starts a machine when it was restored", () => {
    const restored = repository.look((opened) => opened.restore("latest"));
    const output = runInGuest(
      "test -s /srv/large && ibackup --version && touch /srv/new",
      restored,
    );
    expect(output).toMatch(/^\d+\.\d+\.\d+/);
  });

  /** Of two backups of one repository. */
  function expectFrozenCopies(opened: GuestRepository, firstRound: number): void {
    for (const round of [firstRound, firstRound + 1]) {
      const { backupId = "" } = results.get(ROUNDS[round] ?? "") ?? {};
      const restored = opened.restore(backupId);
      const range = `--ignore-initial=0:${round * ROOT_BYTES} --bytes=${ROOT_BYTES}`;
      expect(shell(`cmp ${range} '${restored}' '${copies}' || true`)).toBe("");
      // Nothing of its journal is left to be replayed.
      expect(run("dumpe2fs", "-h", restored)).not.toContain("needs_recovery");
      run("e2fsck", "-fn", restored);
      rmSync(restored);
    }
  }
});
