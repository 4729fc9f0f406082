import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run, shell } from "../support/machine.ts";
import { TestSession } from "./session.ts";

let session: TestSession;
beforeEach(() => {
  session = new TestSession();
});
afterEach(() => session.close());

/** How many writes the kernel counts as under way. */
function writesInFlight(disk: string): number {
  const text = readFileSync(`/sys/class/block/${disk.slice("/dev/".length)}/inflight`, "utf8");
  return Number(text.trim().split(/\s+/)[1]);
}

/**
 * Methodology: the image of a loop disk lies on a file system that is frozen, so that a write to
 * the disk stays under way until the thaw. The thaw is arranged first, in a process of its own.
 */
test("distrusts a disk without request queue while a write of before the attach is under way", async () => {
  const { machine } = session;
  const outer = machine.loopDisk("outer", 32 << 20);
  run("mkfs.ext4", "-q", outer);
  const folder = machine.mount(outer);
  shell(`truncate -s 16M ${folder}/inner.img`);
  const disk = machine.attach(`${folder}/inner.img`);
  const thaw = spawn("sh", ["-c", `read go; fsfreeze --unfreeze ${folder}`], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  // The pipe closes with this process, however it ends: then `read` returns and the thaw comes.
  machine.onClose(() => thaw.stdin.end());

  run("fsfreeze", "--freeze", folder);
  const writing = spawn("dd", [
    "if=/dev/urandom",
    `of=${disk}`,
    "bs=4k",
    "count=1",
    "oflag=direct",
  ]);
  while (writesInFlight(disk) === 0) await new Promise((resolve) => setImmediate(resolve));

  const slot = await session.attach(disk, { bioBased: true });
  const taints = async (): Promise<number> => {
    await session.collect(slot);
    return (await session.status(slot.slot)).taintUnmarkedRanges;
  };
  expect(await taints()).toBe(1);
  expect(await taints()).toBe(2);

  thaw.stdin.end();
  await once(writing, "close");
  // What was read up to here was read while the write may have been under way.
  expect(await taints()).toBe(3);
  expect(await taints()).toBe(3);
});
