/** Freezing where it is not as simple as one file system of a disk that only others write to. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { arrangeThaw, isWritable } from "../support/freezing.ts";
import { firstDifference, run, shell } from "../support/machine.ts";
import { canTrack, Site } from "../support/site.ts";

describe.runIf(canTrack())("flush", () => {
  let site: Site;
  beforeEach(() => {
    site = new Site();
  });
  afterEach(() => site.close());

  /** A tracked disk with one mounted ext4. */
  function mountedDisk(name: string, sizeMiB: number): { disk: string; folder: string } {
    const { machine } = site;
    const disk = machine.loopDisk(name, sizeMiB << 20);
    run("mkfs.ext4", "-q", disk);
    const folder = machine.mount(disk);
    arrangeThaw(machine, folder);
    return { disk, folder };
  }

  /** Two partitions with an ext4 each. */
  function partitionedDisk(): { disk: string; folders: [string, string] } {
    const { machine } = site;
    const file = machine.path("parts.img");
    run("truncate", "-s", "96M", file);
    shell(`printf 'label: gpt\\nsize=40M\\nsize=40M\\n' | sfdisk -q ${file}`);
    const disk = machine.attach(file, "--partscan");
    // Also where the kernel was built without the partition tables that it would read itself.
    run("partx", "-u", disk);
    const [first, second] = [1, 2].map((number) => {
      run("mkfs.ext4", "-q", `${disk}p${number}`);
      const folder = machine.mount(`${disk}p${number}`);
      arrangeThaw(machine, folder);
      return folder;
    });
    return { disk, folders: [first ?? "", second ?? ""] };
  }

  function expectRestores(disk: string, backupId: string, sizeMiB: number): void {
    const target = site.machine.loopDisk("target", sizeMiB << 20);
    site.restore(backupId, target);
    expect(firstDifference(disk, target)).toBe("");
  }

  test("freezes both partitions of a disk, bind mounts once, the last mounted first", () => {
    site.init();
    const { disk, folders } = partitionedDisk();
    const bound = site.machine.path("bound");
    mkdirSync(bound);
    run("mount", "--bind", folders[0], bound);
    site.machine.onClose(() => site.machine.unmount(bound));
    site.must("track", "start", disk);
    const { fileSystems, consistency } = site.flush(disk, "--consistency", "frozen");
    expect(consistency).toBe("frozen");
    expect(fileSystems).toEqual([
      { mountpoint: folders[1], fileSystem: "ext4", outcome: "frozen" },
      { mountpoint: folders[0], fileSystem: "ext4", outcome: "frozen" },
    ]);
  });

  test("works when the repository stands on the disk itself, and warns of it", async () => {
    const { disk, folder } = mountedDisk("disk", 160);
    site.repo = `file://${join(folder, "repository")}`;
    site.init();
    site.must("track", "start", disk);
    for (const round of [1, 2, 3]) {
      writeFileSync(join(folder, "file"), `round ${round}`);
      const { status, stderr, stdout } = site.run("flush", disk, "--consistency", "frozen");
      expect(stderr).toContain("stands on the disk that it is to protect");
      expect({ status, lines: stdout.trim().split("\n").length }).toEqual({ status: 0, lines: 1 });
      expect(await isWritable(folder)).toBe(true);
    }
    site.must("verify", "--data");
  });

  test("does not chase its own packs on the disk until that is full", () => {
    const { disk, folder } = mountedDisk("disk", 800);
    site.repo = `file://${join(folder, "repository")}`;
    site.init();
    site.must("track", "start", disk);
    expect(site.flush(disk).consistency).toBe("frozen");
    run(
      "dd",
      "if=/dev/urandom",
      `of=${join(folder, "file")}`,
      "bs=1M",
      "count=100",
      "oflag=direct",
    );
    const asked = site.run("flush", disk, "--consistency", "frozen");
    expect(asked).toMatchObject({
      status: 19,
      stderr: expect.stringContaining("grows with each pass"),
    });
    const { consistency, passes, bytesStored } = site.flush(disk);
    expect({ consistency, passes }).toEqual({ consistency: "fuzzy", passes: 1 });
    // The file, and the packs of the flush that gave up; not again what this one stores.
    expect(bytesStored).toBeLessThan(220 << 20);
    site.must("verify", "--data");
  });

  test("does not freeze the file system that its own runtime folder lies on", () => {
    const { disk, folder } = mountedDisk("disk", 64);
    site.init();
    site.must("track", "start", disk);
    const runtimeFolder = join(folder, "runtime");
    mkdirSync(runtimeFolder, { mode: 0o700 });
    site.extraEnvironment["IBACKUP_RUNTIME_DIR"] = runtimeFolder;
    site.must("track", "start", disk);
    const { status, stderr } = site.run("flush", disk);
    expect({ status, stderr }).toEqual({
      status: 5,
      stderr: expect.stringContaining(runtimeFolder),
    });
    expect(site.flush(disk, "--freeze-limit", "0").consistency).not.toBe("frozen");
  });

  test("with a freeze limit of 0 freezes nothing", () => {
    const { disk, folder } = mountedDisk("disk", 32);
    site.init();
    site.must("track", "start", disk);
    expect(site.flush(disk, "--freeze-limit", "0")).toMatchObject({
      consistency: "quiet",
      freezeMs: null,
      fileSystems: [{ mountpoint: folder, fileSystem: "ext4", outcome: "not tried" }],
    });
    const { status, stderr } = site.run(
      ...["flush", disk, "--consistency", "frozen", "--freeze-limit", "0s"],
    );
    expect({ status, stderr }).toMatchObject({
      status: 19,
      stderr: expect.stringContaining("the freeze limit is 0"),
    });
  });

  test("asked for a frozen backup, says what is in the way", () => {
    site.init();
    const disk = site.machine.loopDisk("disk", 8 << 20);
    const refusal = (): string => {
      const { status, stderr } = site.run("flush", disk, "--consistency", "frozen");
      expect(status).toBe(19);
      return stderr;
    };
    expect(refusal()).toContain("the disk is not tracked");
    site.must("track", "start", disk);
    expect(refusal()).toContain("no file system of it is mounted");
    expect(site.flush(disk).consistency).toBe("quiet");
  });

  test("takes a file system that is mounted read-only for a frozen one", () => {
    site.init();
    const { disk, folder } = mountedDisk("disk", 32);
    site.must("track", "start", disk);
    run("mount", "-o", "remount,ro", folder);
    const { backupId, ...flushed } = site.flush(disk, "--consistency", "frozen");
    expect(flushed).toMatchObject({
      consistency: "frozen",
      fileSystems: [{ outcome: "read-only" }],
    });
    expectRestores(disk, backupId, 32);
  });

  test("with one file system frozen by somebody else is quiet at best, and does not thaw it", async () => {
    site.init();
    const { disk, folders } = partitionedDisk();
    site.must("track", "start", disk);
    run("fsfreeze", "--freeze", folders[0]);
    try {
      const flushed = site.flush(disk, "--consistency", "quiet");
      expect(flushed).toMatchObject({
        consistency: "quiet",
        fileSystems: [
          { mountpoint: folders[1], outcome: "frozen" },
          { mountpoint: folders[0], outcome: "already frozen" },
        ],
      });
      expect(await isWritable(folders[1])).toBe(true);
      const { status, stderr } = site.run("flush", disk, "--consistency", "frozen");
      expect(status).toBe(19);
      expect(stderr).toContain(`${folders[0]} (ext4) could not be frozen: already frozen`);
    } finally {
      run("fsfreeze", "--unfreeze", folders[0]);
    }
  });

  test("prints the id and ends with status 23 when post-thaw fails", () => {
    site.init();
    const { disk } = mountedDisk("disk", 32);
    site.must("track", "start", disk);
    const { status, stdout, stderr } = site.run("flush", disk, "--post-thaw", "echo oops; exit 1");
    expect(status).toBe(23);
    expect(stdout).toMatch(/^\d{8}T\d{6}Z-[0-9a-f]{8}\n$/);
    expect(stderr).toContain("post-thaw: oops");
    expect(stderr).toContain("The post-thaw hook failed");
  });
});
