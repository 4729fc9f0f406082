import { formatBytes, formatCount } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import type { Problem, VerifyResult } from "../job/verify.ts";
import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Result, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { blockRanges, someOf } from "./text.ts";

export function verifyCommand(run: Run) {
  return newCommand({
    name: "verify",
    summary: "check that backups can be restored",
    details: [
      "Without BACKUP all backups are checked, else the one with its chain. Checks manifests, their",
      "links, index objects, and that every pack is there; with --data also every byte of the packs.",
      "--data 5% reads a twentieth of them, and the next one the next twentieth.",
      "Names each damaged object, the blocks that it takes away, and of which backups.",
      'With --json: {"healthy", "backups", "packs", "bytesRead", "problems": [{"object", "reason",',
      '"backups", "extents": [{"firstBlock", "blockCount"}]}]}.',
    ].join("\n"),
    examples: [
      "ibackup verify --repo file:///srv/backup",
      "ibackup verify --data 5%",
      "ibackup verify latest --disk vda --data",
    ],
    statuses: [...REPOSITORY_STATUSES, "BACKUP_UNKNOWN", "CORRUPT_DATA"],
  })
    .argument("[backup]", BACKUP_ARGUMENT)
    .option("--data [share]", "read and check every byte, or a share such as 5%")
    .option("--disk <name>", "the disk whose `latest` is meant")
    .action(async (given, { data: asked = false, disk }) => {
      await run(async (session) => {
        const { verify } = await import("../job/verify.ts");
        const { openVerifyCursor } = await import("../job/verify_cursor.ts");
        const { context } = session;
        const { backup, share } = separate(given, asked);
        const backups = backup === undefined ? undefined : [await idOf({ backup, disk }, session)];
        const { progress, signal } = context;
        const repository = await context.openRepository();
        if (share === undefined || share === 1) {
          const data = share === undefined ? "none" : "all";
          return resultOf(await verify({ repository, backups, data, progress, signal }));
        }
        const cursor = openVerifyCursor(context, repository.id);
        const data = { share, last: cursor.last };
        const result = await verify({ repository, backups, data, progress, signal });
        cursor.save(result.last);
        return resultOf(result);
      });
    });
}

/** What follows `--data` may be the backup that is meant, and no share. */
function separate(
  backup: string | undefined,
  data: string | boolean,
): { backup: string | undefined; share: number | undefined } {
  if (typeof data === "boolean") return { backup, share: data ? 1 : undefined };
  if (backup === undefined && !data.includes("%")) return { backup: data, share: 1 };
  const percent = /^\d+(\.\d+)?%$/.test(data) ? Number(data.slice(0, -1)) : 0;
  if (percent > 0 && percent <= 100) return { backup, share: percent / 100 };
  throw new IbackupError("USAGE", `Cannot use "${data}" as a share`, {
    why: "it is not a percentage above 0% and up to 100%",
    fix: "write for example --data 5%",
  });
}

/** An id goes as it is: `verify` is for repositories in which not everything can be read. */
async function idOf(
  given: { backup: string; disk: string | undefined },
  session: Parameters<Parameters<Run>[0]>[0],
): Promise<string> {
  if (given.backup !== "latest") return given.backup;
  const { findBackup } = await import("../job/catalogue.ts");
  return (await findBackup(session.context, requestOf(given, session))).stored.manifest.backupId;
}

function resultOf({ last: _, ...result }: VerifyResult): Result {
  const { backups, packs, bytesRead, problems } = result;
  const healthy = problems.length === 0;
  const read = bytesRead > 0 ? `, ${formatBytes(bytesRead)} read` : "";
  const looked = `${formatCount(backups, "backup")}, ${formatCount(packs, "pack")}${read}`;
  const text = healthy
    ? `No problem found: ${looked}`
    : [
        ...problems.map(describe),
        `${formatCount(problems.length, "problem")} found: ${looked}`,
      ].join("\n");
  return {
    json: { healthy, ...result },
    text,
    ...(!healthy && { status: "CORRUPT_DATA" as const }),
  };
}

const BACKUPS_SHOWN = 8;

function describe({ object, reason, backups, extents }: Problem): string {
  const blocks = extents.length === 0 ? "" : `\n  blocks: ${blockRanges(extents)}`;
  const named =
    backups.length === 0
      ? "the one that the manifest is of"
      : someOf(backups.slice(0, BACKUPS_SHOWN), backups.length, "backup");
  return `${object}: ${reason}${blocks}\n  backups: ${named}`;
}
