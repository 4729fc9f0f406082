/** A mounted file system under load, whose flushes are killed, and what has to hold afterwards. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { firstDifferenceOf } from "../model/disk.ts";
import { contentOf } from "../support/content.ts";
import { run, shell } from "../support/machine.ts";
import { childrenOf, commandOf, signal } from "../support/processes.ts";
import { type Flushed, PROGRAM, startIbackup } from "../support/program.ts";
import { Site } from "../support/site.ts";
import { type KillAt, type Role, runTraced, type Traced, textOf } from "../support/step_killer.ts";

const SIZE_BYTES = 40 << 20;
/** Within so long after a kill nothing is frozen, and nothing of ibackup runs any more. */
const CALM_MS = 1000;
/** Should ibackup leave it frozen, then at least not for longer than this. */
const SAFETY_THAW_S = 20;
/** Of a set that was committed: its state, the newest collect, the carry; and a collect to spare. */
const PENDING_FILES_MAX = 4;
/** What a killed put leaves; an hour later the next put removes it. */
const TEMPORARY = /^\.tmp-/;
/** However long freezing takes on a machine that has too much to do. */
const ALWAYS_FROZEN = ["--consistency", "frozen", "--freeze-budget", "5s"];
const REPOSITORY_FOLDERS = ["heads", "indexes", "leases", "manifests", "packs", "repository"];

interface Listed {
  backupId: string;
  consistency: Flushed["consistency"];
}

/** What became of a flush of which something was killed. */
export interface Killed {
  /** Null when it was killed itself. */
  status: number | null;
  stderr: string;
}

export class KillSite {
  readonly site = new Site();
  readonly device: string;
  readonly mountpoint: string;
  readonly #image: string;
  readonly #folder: string;
  readonly #repository: string;
  readonly #known = new Set<string>();
  #load: ChildProcess | undefined;
  #copies = 0;
  /** How many backups flushes had committed of which something was killed. */
  committed = 0;

  constructor() {
    const { machine } = this.site;
    this.#folder = mkdtempSync("/dev/shm/ibackup-kills-");
    machine.onClose(() => rmSync(this.#folder, { recursive: true, force: true }));
    this.#repository = join(this.#folder, "repository");
    this.site.repo = `file://${this.#repository}`;
    this.site.init();
    this.#image = join(this.#folder, "disk.img");
    run("truncate", "-s", String(SIZE_BYTES), this.#image);
    this.device = machine.attach(this.#image);
    run("mkfs.ext4", "-q", this.device);
    this.mountpoint = machine.mount(this.device);
    machine.onClose(() => this.#stopLoad());
    this.site.must("track", "start", this.device);
  }

  /** The first backup, without which nothing could be continued. */
  takeBase(): void {
    const { backupId } = this.site.flush(this.device, "--disk", "disk");
    this.#known.add(backupId);
  }

  /** Random writes of 4 KiB past the page cache and through it, and files that come and go. */
  startLoad(): void {
    const { mountpoint } = this;
    const fio = [
      ...["fio", `--directory='${mountpoint}'`, "--rw=randwrite", "--bs=4k", "--size=5m"],
      ...["--time_based", "--runtime=7200", "--thread", "--norandommap", "--rate_iops=1000"],
      "--output=/dev/null",
    ].join(" ");
    const churn = [
      ...[`cd '${mountpoint}'`, "while :; do echo $RANDOM > new", "mv new name", "rm name"],
      ...["sleep 0.02", "done"],
    ].join("; ");
    const script = `${fio} --name=direct --direct=1 & ${fio} --name=buffered --fsync=50 & ${churn}`;
    this.#load = spawn("bash", ["-c", script], { stdio: "ignore", detached: true });
  }

  /** Runs a flush that is killed at one of its steps, and waits until all is calm. */
  async flushKilledAt(at: KillAt): Promise<Traced> {
    const args = this.#flushArguments();
    const command = { program: PROGRAM, args, env: this.#environment };
    return await this.underSafety(() => runTraced(this.site.machine, at, command));
  }

  /**
   * Runs a flush, kills the victim so long after its birth, and waits until all is calm.
   * @returns Undefined when it had ended by then.
   */
  async flushKilledAfter(victim: Role, afterMs: number): Promise<Killed | undefined> {
    return await this.underSafety(async () => {
      const child = this.startFlush();
      const stderr = textOf(child);
      const ended = once(child, "close");
      const isBorn = (): boolean => this.find(child, victim) !== undefined;
      while (!isBorn() && child.exitCode === null) await sleep(5);
      await Promise.race([sleep(afterMs, undefined, { ref: false }), ended]);
      const pid = this.find(child, victim);
      if (pid !== undefined) signal(pid, "SIGKILL");
      const [status] = await ended;
      return pid === undefined ? undefined : { status, stderr: stderr() };
    });
  }

  /** Leaves it running. What it backs up frozen is copied meanwhile, to be compared. */
  startFlush(...options: string[]): ChildProcess {
    const { site } = this;
    return startIbackup(site.machine, [...this.#flushArguments(), ...options], site.options);
  }

  /** Runs a flush by the words of another command, such as a shell that sets limits first. */
  spawnFlush(program: string, ...words: string[]): ChildProcess {
    const args = [...words, PROGRAM, ...this.#flushArguments()];
    return spawn(program, args, { env: this.#environment, stdio: ["ignore", "ignore", "pipe"] });
  }

  /** The flush, its helper, or the watchdog of that; undefined while there is none. */
  find(flush: ChildProcess, role: Role): number | undefined {
    if (flush.pid === undefined || flush.exitCode !== null) return undefined;
    const own = (parent: number | undefined): number | undefined =>
      parent === undefined
        ? undefined
        : childrenOf(parent).find((pid) => commandOf(pid).includes(this.site.pinFolder));
    if (role === "flush") return flush.pid;
    return role === "helper" ? own(flush.pid) : own(own(flush.pid));
  }

  /** Sees to it that what is left frozen is thawed, though the one who should have is gone. */
  async underSafety<T>(work: () => Promise<T>): Promise<T> {
    const script = `sleep ${SAFETY_THAW_S}; exec fsfreeze -u '${this.mountpoint}'`;
    const safety = spawn("sh", ["-c", script], { stdio: "ignore", detached: true });
    try {
      const result = await work();
      await this.expectCalm();
      return result;
    } finally {
      if (safety.pid !== undefined && safety.exitCode === null) signal(-safety.pid, "SIGKILL");
    }
  }

  /**
   * What the killed flush has committed, if it did, is as it was; the next flush needs no repair and
   * no comparison, freezes, and restores to what the disk was then.
   */
  async expectNextFlushRight(): Promise<Flushed> {
    const { site } = this;
    for (const listed of this.#newBackups()) {
      this.committed += 1;
      await this.#expectAsCopied(listed);
    }
    const flushed = await this.underSafety(async () =>
      site.json<Flushed>(...this.#flushArguments(), ...ALWAYS_FROZEN),
    );
    if (flushed.gapCheck.verdict !== "trusted") throw new Error(flushed.gapCheck.reason);
    for (const listed of this.#newBackups()) await this.#expectAsCopied(listed);
    this.#expectTidy();
    return flushed;
  }

  newestConsistency(): Flushed["consistency"] | undefined {
    return this.#list().at(-1)?.consistency;
  }

  /** Every byte of every backup is there. */
  expectSound(): void {
    this.site.must("verify", "--data");
  }

  close(): void {
    this.site.close();
  }

  get #environment(): Record<string, string> {
    const { machine, options } = this.site;
    const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
    return { PATH, HOME: machine.folder, ...machine.environment, ...options.env };
  }

  get #copy(): string {
    return join(this.#folder, `copy-${this.#copies}.img`);
  }

  #flushArguments(): string[] {
    rmSync(this.#copy, { force: true });
    this.#copies += 1;
    return [
      "flush",
      this.device,
      "--disk",
      "disk",
      "--frozen",
      `cp '${this.#image}' '${this.#copy}'`,
    ];
  }

  #newBackups(): Listed[] {
    const found = this.#list().filter(({ backupId }) => !this.#known.has(backupId));
    for (const { backupId } of found) this.#known.add(backupId);
    return found;
  }

  #list(): Listed[] {
    return this.site.json<{ backups: Listed[] }>("list").backups;
  }

  /** One that is not frozen need not be like the copy; but it can be restored. */
  async #expectAsCopied({ backupId, consistency }: Listed): Promise<void> {
    const content = await contentOf(this.site.repo, backupId);
    if (consistency !== "frozen") return;
    const difference = firstDifferenceOf(content, readFileSync(this.#copy));
    if (difference >= 0)
      throw new Error(`${backupId} is not what was frozen at byte ${difference}`);
  }

  /** A write comes through, and no process of ibackup is left. */
  async expectCalm(): Promise<void> {
    const startedMs = performance.now();
    await this.expectWritable(CALM_MS);
    for (let own = this.#ownProcesses(); own.length > 0; own = this.#ownProcesses()) {
      if (performance.now() - startedMs > CALM_MS)
        throw new Error(`still there: ${own.join("; ")}`);
      await sleep(10);
    }
  }

  /** A writer that hangs cannot be killed: it is left behind, until the safety thaw. */
  async expectWritable(limitMs: number): Promise<void> {
    const probe = spawn("sh", ["-c", `echo probe > '${this.mountpoint}/probe'`]);
    const late = sleep(limitMs, "late", { ref: false });
    if ((await Promise.race([once(probe, "close"), late])) !== "late") return;
    throw new Error(`after ${limitMs} ms ${this.mountpoint} is still frozen`);
  }

  /** The flush, its helper and watchdog: by the folder of the pins, which no other test has. */
  #ownProcesses(): string[] {
    return readdirSync("/proc")
      .filter((name) => /^[0-9]+$/.test(name))
      .map((pid) => `${pid} ${commandOf(Number(pid))}`)
      .filter((line) => line.includes(this.site.pinFolder));
  }

  #expectTidy(): void {
    const pending = join(this.site.machine.runtimeFolder, "pending");
    const files = readdirSync(pending, { recursive: true, withFileTypes: true });
    const names = files.filter((entry) => entry.isFile()).map(({ name }) => name);
    if (names.length > PENDING_FILES_MAX) throw new Error(`pending: ${names.join(", ")}`);
    const left = readdirSync(this.#repository)
      .filter((name) => !TEMPORARY.test(name))
      .filter((name) => !REPOSITORY_FOLDERS.includes(name));
    if (left.length > 0) throw new Error(`in the repository: ${left.join(", ")}`);
  }

  #stopLoad(): void {
    if (this.#load?.pid === undefined) return;
    signal(-this.#load.pid, "SIGKILL");
    // Until the last thread of them is gone the file system is busy; a zombie holds nothing.
    const living = `ps -eLo pgid=,stat= | grep -q '^ *${this.#load.pid} *[^ ZX]'`;
    shell(`while ${living}; do sleep 0.02; done`);
    this.#load = undefined;
  }
}
