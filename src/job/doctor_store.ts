/** What the doctor asks of the store. */
import { IbackupError } from "../errors.ts";
import type { StoreProbe } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { type Finding, fail, failureOf, ok, warn } from "./finding.ts";

export async function checkStore(context: JobContext, isNamed: boolean): Promise<Finding[]> {
  if (!isNamed) {
    return [warn("store", "no repository was named", "add --repo URL to have it checked")];
  }
  try {
    const store = await context.openStore();
    const probe = await store.probe();
    const findings = [checkAccess(store.url, probe)];
    if (probe.writable) findings.push(checkConditionalPut(probe));
    if (probe.readable) findings.push(await checkRepository(context));
    return findings;
  } catch (error) {
    return [failureOf("store", error)];
  }
}

function checkAccess(url: string, { readable, writable, problems }: StoreProbe): Finding {
  if (readable && writable) return ok("store", `${url} can be read and written`);
  const lacks = [readable ? [] : ["read"], writable ? [] : ["written"]].flat().join(" or ");
  const found = [`${url} cannot be ${lacks}.`, ...problems].join(" ");
  return fail("store", found, "check the URL, the credentials and what they may do");
}

function checkConditionalPut({ conditionalPut }: StoreProbe): Finding {
  const found = `conditional puts are ${conditionalPut}`;
  if (conditionalPut === "honoured") return ok("conditional put", found);
  const fix = "let only one machine at a time write backups of a disk; see README.md";
  return warn("conditional put", found, fix);
}

async function checkRepository(context: JobContext): Promise<Finding> {
  try {
    const repository = await context.openRepository();
    return ok("repository", `${repository.id} in ${repository.store.url}`);
  } catch (error) {
    if (error instanceof IbackupError && error.code === "REPOSITORY_MISSING") {
      return warn("repository", "there is none yet", "`ibackup init --no-encryption`");
    }
    return failureOf("repository", error);
  }
}
