import { readdirSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import type { Frame, FrameOf } from "../../src/frame/codec.ts";
import { arrangeThaw } from "../support/freezing.ts";
import { Machine, run } from "../support/machine.ts";
import { Driver, type DriverOptions } from "./driver.ts";

/** File systems on loop disks, and the helper that freezes them. */
export class FreezeSession {
  readonly machine = new Machine();
  readonly #drivers: Driver[] = [];
  #disks = 0;

  start(options: DriverOptions = {}): Driver {
    const driver = new Driver(options);
    this.#drivers.push(driver);
    return driver;
  }

  /** A new file system, mounted, whose thaw is arranged. */
  makeFileSystem(kind = "ext4", inFolder?: string): { disk: string; folder: string } {
    const name = `disk-${this.#disks++}`;
    const sizeBytes = (kind === "xfs" ? 320 : 128) << 20;
    const disk =
      inFolder === undefined
        ? this.machine.loopDisk(name, sizeBytes)
        : this.#loopDiskIn(inFolder, name);
    run(`mkfs.${kind}`, "-q", disk);
    const folder = this.machine.mount(disk);
    arrangeThaw(this.machine, folder);
    return { disk, folder };
  }

  #loopDiskIn(folder: string, name: string): string {
    run("truncate", "-s", "24M", `${folder}/${name}.img`);
    return this.machine.attach(`${folder}/${name}.img`);
  }

  /** Helpers that a test has stopped or left alive go with it. */
  async close(): Promise<void> {
    for (const driver of this.#drivers) {
      const watchdog = driver.hasEnded ? undefined : watchdogOf(driver);
      await driver.kill();
      if (watchdog !== undefined) await gone(watchdog);
    }
    this.machine.close();
  }
}

/** The id of the mount that the path leads to. */
export function mountIdOf(path: string): number {
  return Number(
    run("findmnt", "--noheadings", "--output", "ID", "--mountpoint", path).split("\n")[0],
  );
}

/** @param entries Mountpoints, or what stands in the request as it is. */
export function freezeRequest(entries: readonly string[], limitMs = 20_000): Frame {
  const texts = entries.map((it) => (it.startsWith("/") ? `${mountIdOf(it)} ${it}` : it));
  const fields = { limitMs, reserved: 0 };
  return { name: "freezeRequest", request: 0, fields, tail: texts.join("\0") };
}

export const thawRequest: Frame = { name: "thawRequest", request: 0, fields: {} };

/** Freezes; each of them must then be frozen. */
export async function freezeAll(
  driver: Driver,
  folders: string[],
  limitMs?: number,
): Promise<void> {
  const outcomes = outcomesIn(await driver.ask(freezeRequest(folders, limitMs)));
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(folders.map(() => 1));
}

export function outcomesIn(answers: readonly Frame[]): FrameOf<"freezeOutcome">["fields"][] {
  expect(answers.at(-1)?.name).toBe("done");
  return answers.filter((frame) => frame.name === "freezeOutcome").map(({ fields }) => fields);
}

export async function thaw(driver: Driver): Promise<FrameOf<"thawed">["fields"]> {
  return (await driver.askFor(thawRequest, "thawed")).fields;
}

/** The process id of a helper's watchdog; undefined while it has none. */
export function watchdogOf(driver: Driver): number | undefined {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => statOf(pid)?.startsWith(`(ibackup-thaw) ${driver.pid}`));
}

/** Name, parent and session: `(name) 17 42`; undefined when there is no such living process. */
function statOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [, name, state, parent, session] = /^\d+ (\(.*\)) (\S) (\d+) \d+ (\d+) /.exec(stat) ?? [];
    return state === "Z" ? undefined : `${name} ${parent} ${session}`;
  } catch {
    return undefined;
  }
}

/** True when the process leads a session of its own. */
export function hasOwnSession(pid: number): boolean {
  return statOf(pid)?.endsWith(` ${pid}`) === true;
}

/** Resolves when there is no such process any more. */
export async function gone(pid: number): Promise<void> {
  const limit = performance.now() + 2000;
  while (statOf(pid) !== undefined) {
    if (performance.now() > limit) throw new Error(`process ${pid} is still there`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves when the process is inside FIFREEZE and writes out what is dirty: nobody else writes. */
export async function syncsInFreeze(pid: number): Promise<void> {
  while (!/(sync_filesystem|ext4_freeze)(.|\n)*freeze_super/.test(stackOf(pid))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Whether the process is inside FIFREEZE now. */
export function isInFreeze(pid: number): boolean {
  return stackOf(pid).includes("freeze_super");
}

/** What the kernel does for a process, innermost first; nothing when it has ended. */
function stackOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stack`, "utf8");
  } catch {
    return "";
  }
}
