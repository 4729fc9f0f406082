/** Memory grows neither with the disk nor with the writes to it: the peak of all processes of a backup, polled in /proc. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { arrangeThaw } from "../support/freezing.ts";
import { run, shell } from "../support/machine.ts";
import { peakBytesOfTree } from "../support/processes.ts";
import { type Flushed, startIbackup } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

const GIB = 2 ** 30;
const SIZE_BYTES = (env["IBACKUP_LONG"] === "1" ? 1024 : 128) * GIB;
/** What is written at random in a disk in use. */
const FILE_MIB = env["IBACKUP_LONG"] === "1" ? 4096 : 512;
const LIMIT_BYTES = 256 << 20;
/** A collection of garbage may come late while writers take all there is of the processors. */
const LIMIT_UNDER_LOAD_BYTES = 352 << 20;

describe.runIf(canTrack())(`of a sparse disk of ${SIZE_BYTES / GIB} GiB`, () => {
  let site: Site;
  beforeEach(() => {
    site = new Site();
    site.init();
  });
  afterEach(() => site.close());

  test("base, incremental, verify and restore stay under 256 MiB together with the helper", async () => {
    const source = site.machine.loopDisk("source", SIZE_BYTES);
    const step = Math.floor(SIZE_BYTES / 64 / 2 ** 20);
    const places = Array.from({ length: 32 }, (_, i) => (2 * i + 1) * step);
    const scatter = (sizeMiB: number): void => {
      const dd = `dd of=${source} bs=1M iflag=fullblock oflag=direct conv=notrunc status=none`;
      shell(places.map((at) => `head -c ${sizeMiB}M /dev/urandom | ${dd} seek=${at}`).join("\n"));
    };
    const here = (name: string): Measured => ({ site, name, limitBytes: LIMIT_BYTES });
    scatter(4);
    site.must("track", "start", source);
    const base = await measured<Flushed>(here("base"), "flush", source);
    expect(base).toMatchObject({ type: "base" });
    scatter(2);
    const incremental = await measured<Flushed>(here("incremental"), "flush", source);
    expect(incremental).toMatchObject({ gapCheck: { verdict: "trusted" } });
    expect(incremental.bytesRead).toBeLessThan(1 * GIB);
    await measured(here("verify"), "verify", "--data");
    await measured(here("restore"), "restore", "latest", "--target", site.machine.path("image"));
    const images = `'${site.machine.path("image")}' '${site.machine.path("source.img")}'`;
    shell(places.map((at) => `cmp -i ${at}M -n 5M ${images}`).join("\n"));
  });
});

describe.runIf(canTrack())("of a disk that is written to without end", () => {
  let site: Site;
  beforeEach(() => {
    site = new Site();
    site.init();
  });
  afterEach(() => site.close());

  test("base and incrementals stay under 352 MiB together with the helper", async () => {
    const { machine } = site;
    const source = machine.loopDisk("source", FILE_MIB * 1.25 * 2 ** 20);
    run("mkfs.ext4", "-q", source);
    const folder = machine.mount(source);
    const file = join(folder, "file");
    run("dd", "if=/dev/zero", `of=${file}`, "bs=1M", `count=${FILE_MIB}`, "oflag=direct");
    site.must("track", "start", source);
    const writer = saturate(file);
    await vi.waitUntil(() => sectorsWritten(source) > FILE_MIB * 2048 * 1.5, { timeout: 60_000 });
    const here = (name: string): Measured => ({ site, name, limitBytes: LIMIT_UNDER_LOAD_BYTES });
    try {
      for (const round of ["base", "incremental"]) {
        const thaw = arrangeThaw(machine, folder);
        const flushed = await measured<Flushed>(here(`${round} under load`), "flush", source);
        await thaw();
        expect(writer.exitCode).toBeNull();
        // The writers were braked, which is where most is held.
        expect(flushed.type).toBe(round);
        expect(flushed.passes).toBeGreaterThan(1);
      }
    } finally {
      writer.kill("SIGKILL");
      if (writer.exitCode === null && writer.signalCode === null) await once(writer, "close");
    }
  }, 300_000);
});

/** By the kernel's own count. */
function sectorsWritten(device: string): number {
  const stat = readFileSync(`/sys/class/block/${basename(device)}/stat`, "utf8");
  return Number(stat.trim().split(/ +/)[6]);
}

/** Writes to random places of a file, as much as the disk takes. */
function saturate(file: string): ChildProcess {
  const how = ["--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=32"];
  const what = [`--filename=${file}`, `--size=${FILE_MIB}M`, "--norandommap", "--randrepeat=0"];
  const long = ["--time_based", "--runtime=3600", "--thread"];
  return spawn("fio", ["--name=writer", ...what, ...how, ...long], { stdio: "ignore" });
}

interface Measured {
  site: Site;
  name: string;
  limitBytes: number;
}

/** Runs ibackup and polls what it and its children hold at most. */
async function measured<T>({ site, name, limitBytes }: Measured, ...args: string[]): Promise<T> {
  const startedMs = performance.now();
  const child = startIbackup(site.machine, [...args, "--json"], site.options);
  const closed = once(child, "close");
  let [output, messages, peakBytes] = ["", "", 0];
  child.stdout?.on("data", (text) => {
    output += text;
  });
  child.stderr?.on("data", (text) => {
    messages += text;
  });
  const timer = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakBytesOfTree(child.pid ?? 0));
  }, 20);
  const [status] = await closed;
  clearInterval(timer);
  expect({ status, messages }).toMatchObject({ status: 0 });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  const mebibytes = (peakBytes / 2 ** 20).toFixed(1);
  writeFileSync(2, `${name}: peak ${mebibytes} MiB, ${seconds} s\n`);
  expect(peakBytes).toBeGreaterThan(0);
  expect(peakBytes).toBeLessThan(limitBytes);
  return JSON.parse(output) as T;
}
