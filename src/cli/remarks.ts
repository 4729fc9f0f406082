import type { RemarkChange, RemarkResult } from "../job/remarks.ts";
import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Result, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

const STATUSES = [...REPOSITORY_STATUSES, "BACKUP_UNKNOWN", "CORRUPT_DATA"] as const;
const DISK_OPTION = ["--disk <name>", "the disk whose `latest` is meant"] as const;

export function tagCommand(run: Run) {
  return newCommand({
    name: "tag",
    summary: "give backups tags, which `prune --keep-tag` goes by",
    examples: [
      "ibackup tag add latest before-upgrade --disk vda",
      "ibackup tag remove 20261122T170102Z-6f3a9c1d before-upgrade",
    ],
    statuses: STATUSES,
  })
    .addCommand(tagAddCommand(run))
    .addCommand(tagRemoveCommand(run));
}

function tagAddCommand(run: Run) {
  return newCommand({
    name: "add",
    summary: "give a backup a tag",
    examples: [
      "ibackup tag add 20261122T170102Z-6f3a9c1d release-7",
      "ibackup tag add latest before-upgrade --disk vda",
    ],
    statuses: STATUSES,
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .argument("<tag>", "letters, digits, dots, underscores, hyphens")
    .option(...DISK_OPTION)
    .action((backup, tag, { disk }) => apply(run, { backup, disk }, { addTag: tag }));
}

function tagRemoveCommand(run: Run) {
  return newCommand({
    name: "remove",
    summary: "take a tag from a backup",
    examples: [
      "ibackup tag remove 20261122T170102Z-6f3a9c1d release-7",
      "ibackup tag remove latest before-upgrade --disk vda",
    ],
    statuses: STATUSES,
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .argument("<tag>", "the tag that is to go")
    .option(...DISK_OPTION)
    .action((backup, tag, { disk }) => apply(run, { backup, disk }, { removeTag: tag }));
}

export function protectCommand(run: Run) {
  return newCommand({
    name: "protect",
    summary: "keep a backup whatever a policy says",
    details: "A protected backup is not removed by `prune`, neither by policy nor by name.",
    examples: ["ibackup protect 20261122T170102Z-6f3a9c1d", "ibackup protect latest --disk vda"],
    statuses: STATUSES,
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .option(...DISK_OPTION)
    .action((backup, { disk }) => apply(run, { backup, disk }, { isProtected: true }));
}

export function unprotectCommand(run: Run) {
  return newCommand({
    name: "unprotect",
    summary: "let policies decide on a backup again",
    examples: [
      "ibackup unprotect 20261122T170102Z-6f3a9c1d",
      "ibackup unprotect latest --disk vda",
    ],
    statuses: STATUSES,
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .option(...DISK_OPTION)
    .action((backup, { disk }) => apply(run, { backup, disk }, { isProtected: false }));
}

async function apply(
  run: Run,
  given: { backup: string; disk: string | undefined },
  change: RemarkChange,
): Promise<void> {
  await run(async (session) => {
    const { remark } = await import("../job/remarks.ts");
    return resultOf(await remark(session.context, requestOf(given, session), change));
  });
}

function resultOf(result: RemarkResult): Result {
  const { backupId, tags, isProtected } = result;
  const said = [...(isProtected ? ["protected"] : []), ...tags.map((tag) => `tag ${tag}`)];
  const json = { backupId, tags, protected: isProtected };
  return { json, text: `${backupId}: ${said.length === 0 ? "nothing said" : said.join(", ")}` };
}
