/** A control group in which memory is short. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const OLD = "/sys/fs/cgroup/memory";
const UNIFIED = "/sys/fs/cgroup";

export class MemoryGroup {
  readonly #folder: string;
  readonly #limitFile: string;

  /** @param name That no other test uses. */
  constructor(name: string) {
    const isOld = existsSync(join(OLD, "memory.limit_in_bytes"));
    if (!isOld) offerMemory();
    this.#folder = join(isOld ? OLD : UNIFIED, name);
    this.#limitFile = join(this.#folder, isOld ? "memory.limit_in_bytes" : "memory.max");
    mkdirSync(this.#folder);
  }

  limit(bytes: number): void {
    writeFileSync(this.#limitFile, String(bytes));
  }

  /** The words that run a command, which follows them, in the group. */
  get entry(): [program: string, ...words: string[]] {
    const procs = join(this.#folder, "cgroup.procs");
    return ["sh", "-c", `echo $$ > '${procs}' && exec "$@"`, "sh"];
  }

  /** Once all who were in it have ended. */
  close(): void {
    rmdirSync(this.#folder);
  }
}

function offerMemory(): void {
  const controllers = readFileSync(join(UNIFIED, "cgroup.controllers"), "utf8").split(/\s/);
  if (!controllers.includes("memory")) throw new Error("there is no control group for memory");
  writeFileSync(join(UNIFIED, "cgroup.subtree_control"), "+memory");
}
