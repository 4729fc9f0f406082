import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import type { Diagnosis } from "../../src/job/doctor.ts";
import { Machine } from "../support/machine.ts";
import { makeRepository } from "./repository.ts";
import { CLI, type Ended, jsonOf, runCli } from "./run_cli.ts";

let machine: Machine;

beforeEach(() => {
  machine = new Machine();
});
afterEach(() => machine.close());

function doctor(...args: string[]): Ended {
  return runCli(["doctor", ...args], machine.environment);
}

function findingsOf(ended: Ended): Record<string, Diagnosis["findings"][number]> {
  const { findings } = jsonOf(ended) as unknown as Diagnosis;
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

describe("doctor", () => {
  test("finds that this machine can make backups, by making the hooks see a write", async () => {
    const disk = machine.loopDisk("disk", 64 << 20);
    const made = await makeRepository();
    machine.onClose(() => made.remove());
    const ended = doctor(disk, "--json", "--repo", made.url);
    const findings = findingsOf(ended);
    expect(Object.keys(findings)).toEqual([
      "kernel",
      "BTF",
      "rights",
      "bpffs",
      "runtime folder",
      `disk ${disk}`,
      "freezing",
      "memory",
      "hook block",
      "hook buffer",
      "store",
      "conditional put",
      "versions",
      "repository",
    ]);
    expect(findings["hook block"]).toEqual({
      check: "hook block",
      verdict: "ok",
      found: "loads with the modern programs, and sees a write to a scratch disk",
      fix: null,
    });
    expect(findings["conditional put"]?.found).toBe(
      "conditional puts are honoured and keep two writers apart",
    );
    expect({ status: ended.status, healthy: jsonOf(ended)["healthy"] }).toEqual({
      status: 0,
      healthy: true,
    });
  });

  test("leaves nothing behind", () => {
    const before = loopFiles();
    expect(doctor().status).toBe(0);
    expect(loopFiles()).toEqual(before);
    expect(existsSync("/sys/fs/bpf/ibackup_doctor")).toBe(false);
    expect(readdirSync(machine.runtimeFolder)).toEqual(["locks"]);
  });

  test("fails for a store that cannot be reached, and says what to do", () => {
    const ended = doctor("--json", "--repo", "s3://bucket?endpoint=http://127.0.0.1:9");
    expect(findingsOf(ended)["store"]).toMatchObject({ verdict: "fail", fix: expect.any(String) });
    expect(ended.status).toBe(EXIT_STATUS.UNHEALTHY);
  });

  test("warns where there is a place, but no repository yet", () => {
    mkdtempSync(machine.path("place-"));
    const ended = doctor("--json", "--repo", `file://${machine.folder}`);
    expect(findingsOf(ended)["repository"]).toMatchObject({
      verdict: "warn",
      found: "there is none yet",
    });
    expect(ended.status).toBe(0);
  });

  test("warns where there is no folder yet, and makes none", () => {
    const folder = machine.path("new");
    const ended = doctor("--json", "--repo", `file://${folder}`);
    expect(findingsOf(ended)["store"]).toMatchObject({
      verdict: "warn",
      found: `there is no folder file://${folder} yet`,
    });
    expect(ended.status).toBe(0);
    expect(existsSync(folder)).toBe(false);
  });

  test("fails for a disk that was named and is none", () => {
    const ended = doctor("/dev/null", "--json");
    expect(findingsOf(ended)["disk /dev/null"]?.verdict).toBe("fail");
    expect(ended.status).toBe(EXIT_STATUS.UNHEALTHY);
  });

  test("prints the remedies for people, below the findings", () => {
    const { stdout, status } = doctor();
    expect(stdout).toMatch(/^ok {4}kernel/);
    expect(stdout).toMatch(/^What to do:\n {2}store: add --repo URL/m);
    expect(stdout).toMatch(/\nThis machine can make backups\n$/);
    expect(status).toBe(0);
  });

  test("fails, and says so for each thing, when it may not do anything", () => {
    const { status, stdout } = spawnSync(
      "setpriv",
      ["--bounding-set=-all", "--inh-caps=-all", ...CLI, "doctor", "--json"],
      {
        encoding: "utf8",
        env: { PATH: env["PATH"] ?? "", ...machine.environment },
      },
    );
    const { findings } = JSON.parse(stdout) as Diagnosis;
    const failed = findings.filter(({ verdict }) => verdict === "fail").map(({ check }) => check);
    expect(failed).toContain("rights");
    expect(failed.some((check) => check.startsWith("hook"))).toBe(true);
    expect(status).toBe(EXIT_STATUS.UNHEALTHY);
  });
});

/** Scratch disks that are attached now. */
function loopFiles(): string[] {
  return readdirSync("/sys/block")
    .filter((name) => existsSync(join("/sys/block", name, "loop/backing_file")))
    .map((name) => readFileSync(join("/sys/block", name, "loop/backing_file"), "utf8"))
    .filter((file) => file.includes("doctor"));
}
