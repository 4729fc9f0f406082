/** What the doctor asks of the kernel, and of the rights that ibackup has. */
import { accessSync, constants, readFileSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { arch, geteuid } from "node:process";
import { formatBytes } from "../core/units.ts";
import { systemCodeOf } from "../errors.ts";
import type { JobContext } from "./context.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";
import { isTmpfs } from "./runtime_folder.ts";

const WITHOUT_TRACKING = "without tracking, `ibackup flush --scan` compares the whole disk";
const BTF_FILE = "/sys/kernel/btf/vmlinux";
const BPFFS = "/sys/fs/bpf";
const BPFFS_MAGIC = 0xcafe_4a11;

/** Its bit in CapEff of /proc/self/status; it includes the younger CAP_BPF and CAP_PERFMON. */
const CAP_SYS_ADMIN = 21n;

export function checkKernel(): Finding {
  const found = `Linux ${release()}, ${arch}`;
  const [major = 0, minor = 0] = release().split(".").map(Number);
  if (arch !== "x64" && arch !== "arm64") {
    return fail("kernel", found, `ibackup tracks on x86-64 and arm64 only; ${WITHOUT_TRACKING}`);
  }
  if (major > 5 || (major === 5 && minor >= 10)) return ok("kernel", found);
  return fail("kernel", found, `use Linux 5.10 or newer; ${WITHOUT_TRACKING}`);
}

export function checkBtf(): Finding {
  try {
    accessSync(BTF_FILE, constants.R_OK);
    return ok("BTF", BTF_FILE);
  } catch (error) {
    const fix = `use a kernel with CONFIG_DEBUG_INFO_BTF=y; ${WITHOUT_TRACKING}`;
    return fail("BTF", `${BTF_FILE} cannot be read (${systemCodeOf(error)})`, fix);
  }
}

export function checkRights(): Finding {
  const uid = geteuid?.();
  if (uid !== 0) return fail("rights", `user ${uid}`, "run ibackup as root");
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  const hasAdmin = ((BigInt(`0x${effective ?? "0"}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
  if (hasAdmin) return ok("rights", "root with CAP_SYS_ADMIN");
  return fail(
    "rights",
    "root without CAP_SYS_ADMIN",
    "run ibackup on the machine itself, not in a container that takes rights away",
  );
}

export function checkBpffs(): Finding {
  try {
    if (statfsSync(BPFFS).type === BPFFS_MAGIC) return ok("bpffs", `mounted at ${BPFFS}`);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw error;
  }
  return fail(
    "bpffs",
    `not mounted at ${BPFFS}`,
    `\`mount -t bpf bpf ${BPFFS}\`, and a line for it in /etc/fstab`,
  );
}

export function checkRuntimeFolder(context: JobContext): Finding {
  const folder = context.runtimeDir();
  const { bavail, bsize } = statfsSync(folder);
  const found = `${folder}, ${formatBytes(bavail * bsize)} free`;
  if (isTmpfs(folder)) return ok("runtime folder", found);
  const fix = "unset IBACKUP_RUNTIME_DIR, or name a folder on a tmpfs";
  return warn("runtime folder", `${found}, not on a tmpfs`, fix);
}
