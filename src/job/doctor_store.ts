/** What the doctor asks of the store. */
import { IbackupError } from "../errors.ts";
import type { StoreProbe } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { type Finding, fail, failureOf, ok, warn } from "./finding.ts";

export interface StoreQuestions {
  /** False when no repository was named. */
  hasRepository: boolean;
  /** True when what is stored is to be locked. */
  wantsLock?: boolean | undefined;
}

export async function checkStore(
  context: JobContext,
  { hasRepository, wantsLock = false }: StoreQuestions,
): Promise<Finding[]> {
  if (!hasRepository) {
    return [warn("store", "no repository was named", "add --repo URL to have it checked")];
  }
  try {
    const store = await context.openStore();
    const probe = await store.probe();
    const findings = [checkAccess(store.url, probe)];
    if (probe.writable) findings.push(checkFence(probe), checkVersions(probe));
    if (wantsLock && probe.writable) findings.push(checkLock(probe));
    if (probe.readable) findings.push(await checkRepository(context));
    return findings;
  } catch (error) {
    return [failureOf("store", error)];
  }
}

function checkAccess(url: string, probe: StoreProbe): Finding {
  const { isMissing, readable, writable, problems } = probe;
  if (isMissing) return warn("store", `there is no folder ${url} yet`, MISSING_FIX);
  if (readable && writable) return ok("store", `${url} can be read and written`);
  const lacks = [readable ? [] : ["read"], writable ? [] : ["written"]].flat().join(" or ");
  const found = [`${url} cannot be ${lacks}.`, ...problems].join(" ");
  return fail("store", found, "check the URL, the credentials and what they may do");
}

const MISSING_FIX = "mount what it lies on; or, when it is to be new, let `ibackup init` make it";

const FENCE = {
  condition: "keep two writers apart",
  versions: "; the order of versions keeps two writers apart",
  claims: "; claims keep two writers apart while lists are up to date and none stands still",
  none: "; two writers may overwrite each other's manifest",
} as const;

function checkFence({ conditionalPut, fence }: StoreProbe): Finding {
  const and = fence === "condition" ? " and " : "";
  const found = `conditional puts are ${conditionalPut}${and}${FENCE[fence]}`;
  if (fence === "condition" || fence === "versions") return ok("conditional put", found);
  const fix = "let only one machine at a time write backups of a disk; see README.md";
  return warn("conditional put", found, fix);
}

function checkVersions({ versioning, objectLock }: StoreProbe): Finding {
  const [versions, lock] = [versioning, objectLock].map((has) => {
    if (has === undefined) return "not told";
    return has ? "yes" : "no";
  });
  return ok("versions", `keeps versions: ${versions}; object lock: ${lock}`);
}

function checkLock({ objectLock }: StoreProbe): Finding {
  if (objectLock === true) return ok("object lock", "what is stored can be locked");
  const found =
    "the config file asks for a retention, and the bucket does not say it has object lock";
  const fix = "make a bucket with object lock, or take lock-mode and retain out of [store]";
  return objectLock === false
    ? fail("object lock", found, fix)
    : warn("object lock", found, `${fix}; or let the credentials read the lock configuration`);
}

async function checkRepository(context: JobContext): Promise<Finding> {
  try {
    const repository = await context.openRepository();
    return ok("repository", `${repository.id} in ${repository.store.url}`);
  } catch (error) {
    if (error instanceof IbackupError && error.code === "REPOSITORY_MISSING") {
      return warn("repository", "there is none yet", "make it: `ibackup init --help`");
    }
    return failureOf("repository", error);
  }
}
