import { randomBytes } from "node:crypto";
import { env } from "node:process";
import { openCacheFolder } from "../../src/job/cache_folder.ts";
import type { JobContext } from "../../src/job/context.ts";
import { FreezeGate } from "../../src/job/freeze_gate.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { openStateFolder } from "../../src/job/state_folder.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { helperExecutable } from "../../src/runtime/embedded_helper.ts";
import type { Machine } from "./machine.ts";

/**
 * What a job is given when a test calls it: the helper of the checkout, a real clock.
 * @param pins Folder under /sys/fs/bpf that no other test uses.
 */
export function testContext(
  machine: Machine,
  { repository, pins }: { repository: Repository; pins: string },
): JobContext {
  return {
    ...machineContext(machine),
    openStore: async () => repository.store,
    openRepository: async () => repository,
    helperArgs: ["--pins", `/sys/fs/bpf/${pins}`],
  };
}

/** All of it that is the same for every repository and every folder of pins. */
export function machineContext(
  machine: Machine,
): Omit<JobContext, "openStore" | "openRepository" | "helperArgs"> {
  return {
    helper: helperExecutable,
    runtimeDir: () => machine.runtimeFolder,
    cacheDir: () => openCacheFolder(machine.cacheFolder),
    stateDir: () => openStateFolder(machine.stateFolder),
    secrets: { identityFile: undefined, passphraseFile: undefined },
    pinnedRecipient: undefined,
    environment: env,
    progress: SILENT_PROGRESS,
    freezeGate: new FreezeGate(),
    clock: { now: () => new Date(), monotonicMs: () => performance.now() },
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    signal: new AbortController().signal,
    version: "0.0.0",
  };
}
