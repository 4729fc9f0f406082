/** What the helper's error codes mean to a user. */
import { getSystemErrorMap } from "node:util";
import { type ErrorCode, IbackupError } from "../errors.ts";
import type { FrameOf } from "../frame/codec.ts";
import { ERROR_CODE } from "../frame/layout.ts";

interface Meaning {
  code: ErrorCode;
  fix: string;
}

const AS_ROOT = "run ibackup as root (CAP_SYS_ADMIN, CAP_BPF and CAP_PERFMON are needed)";
const RESTART_TRACKING = "run `ibackup track stop`, then `ibackup track start`";

const MEANINGS: Readonly<Record<keyof typeof ERROR_CODE, Meaning>> = {
  badRequest: { code: "INTERNAL", fix: "report this: it is a bug in ibackup" },
  notPermitted: { code: "NOT_PERMITTED", fix: AS_ROOT },
  noBtf: {
    code: "UNSUPPORTED",
    fix: "use a kernel with CONFIG_DEBUG_INFO_BTF, or back up without tracking: `ibackup flush --scan`",
  },
  noBpffs: {
    code: "UNSUPPORTED",
    fix: "mount it: `mount -t bpf bpf /sys/fs/bpf`",
  },
  loadFailed: {
    code: "UNSUPPORTED",
    fix: "run `ibackup doctor`; without tracking, `ibackup flush --scan` still works",
  },
  attachFailed: {
    code: "UNSUPPORTED",
    fix: "run `ibackup doctor`; without tracking, `ibackup flush --scan` still works",
  },
  noSession: { code: "TRACKER", fix: "run `ibackup track start`" },
  noSlot: { code: "TRACKER", fix: "run `ibackup track start` for this device" },
  alreadyTracked: { code: "TRACKER", fix: "nothing to do; `ibackup track status` shows it" },
  tooManySlots: {
    code: "UNSUPPORTED",
    fix: "stop tracking a device first: `ibackup track stop DEVICE`",
  },
  system: { code: "IO", fix: "see `dmesg`; run `ibackup doctor`" },
  brokenSession: { code: "TRACKER", fix: RESTART_TRACKING },
  freezeExpired: {
    code: "CONSISTENCY",
    fix: "flush when less is written, or allow more time: `--freeze-limit`",
  },
  busy: { code: "TARGET_BUSY", fix: "flush when less is written" },
  locked: { code: "LOCKED", fix: "wait until it has ended, then run the command again" },
};

const NAMES = new Map(
  (Object.keys(ERROR_CODE) as (keyof typeof ERROR_CODE)[]).map((name) => [ERROR_CODE[name], name]),
);

/** The three-part error for an `error` frame; its tail says what failed and why. */
export function helperError({ fields, tail }: FrameOf<"error">): IbackupError {
  const name = NAMES.get(fields.code as (typeof ERROR_CODE)[keyof typeof ERROR_CODE]);
  const { code, fix } = MEANINGS[name ?? "badRequest"];
  const [what = "", ...parts] = tail.split(": ");
  const system = describeErrno(fields.errno);
  const why = [...parts, ...(system === undefined ? [] : [system])].join(": ");
  return new IbackupError(code, sentence(what), {
    why: why === "" ? `the helper reports ${name ?? fields.code}` : why,
    fix,
  });
}

function sentence(what: string): string {
  return what === "" ? "The helper failed" : what.charAt(0).toUpperCase() + what.slice(1);
}

function describeErrno(errno: number): string | undefined {
  if (errno === 0) return undefined;
  const [name, text] = getSystemErrorMap().get(-errno) ?? [];
  return name === undefined ? `system error ${errno}` : `${text} (${name})`;
}
