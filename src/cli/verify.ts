import { formatBytes, formatCount, parseShare } from "../core/units.ts";
import type { DeviceRepair } from "../job/repair.ts";
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
      "Names each damaged object, the blocks that it takes away, and of which backups. With --repair,",
      "blocks that the newest backup of a disk has lost, and that the disk proves by the digests in the",
      "local cache, are stored again; then all is checked once more. What no DEVICE proves is noted:",
      "list and verify tell it from then on, and restore gives the rest with --partial. Where --data",
      "finds everything whole again, --repair takes the note away.",
      'With --json: {"healthy", "backups", "packs", "bytesRead", "problems": [{"object", "reason",',
      '"backups", "extents": [{"firstBlock", "blockCount"}]}], "warnings", "repairs": [{"device",',
      '"blocksLost", "blocksRepaired"}]}.',
    ].join("\n"),
    examples: [
      "ibackup verify --repo file:///srv/backup",
      "ibackup verify --data 5%",
      "ibackup verify latest --disk vda --data",
      "ibackup verify --data --repair /dev/vda",
    ],
    statuses: [
      ...REPOSITORY_STATUSES,
      "NOT_PERMITTED",
      "DEVICE",
      "LOCKED",
      "BACKUP_UNKNOWN",
      "CORRUPT_DATA",
    ],
  })
    .argument("[backup]", BACKUP_ARGUMENT)
    .option("--data [share]", "read and check every byte, or a share such as 5%")
    .option("--disk <name>", "the disk whose `latest` is meant")
    .option(
      "--repair [device...]",
      "store again what the repository has lost and these disks prove, and note what is left",
    )
    .action(async (given, { data: asked = false, disk, repair: asDevices }) => {
      const needs = { secret: asked !== false || asDevices !== undefined };
      await run(async (session) => {
        const { backup, share } = separate(given, asked);
        const backups = backup === undefined ? undefined : [await idOf({ backup, disk }, session)];
        const { verifyShare } = await import("../job/verify_share.ts");
        const check = () => verifyShare(session.context, { backups, share });
        const found = await check();
        const { problems } = found;
        if (asDevices === undefined || problems.length === 0) return resultOf(found, []);
        const devices = asDevices === true ? [] : asDevices;
        const { repair } = await import("../job/repair.ts");
        const { recordLosses } = await import("../job/record_losses.ts");
        const { context, settings } = session;
        const repairs = await repair(context, { vmId: settings.vmId, devices, problems });
        const isWhole = share === 1 && backups === undefined;
        await recordLosses(context, { problems, isWhole });
        return resultOf(await check(), repairs);
      }, needs);
    });
}

/** What follows `--data` may be the backup that is meant, and no share. */
function separate(
  backup: string | undefined,
  data: string | boolean,
): { backup: string | undefined; share: number | undefined } {
  if (typeof data === "boolean") return { backup, share: data ? 1 : undefined };
  if (backup === undefined && !data.includes("%")) return { backup: data, share: 1 };
  return { backup, share: parseShare(data) };
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

function resultOf({ last: _, ...result }: VerifyResult, repairs: readonly DeviceRepair[]): Result {
  const { backups, packs, bytesRead, problems, warnings } = result;
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
    json: { healthy, ...result, ...(repairs.length > 0 && { repairs }) },
    text,
    note: [...warnings.map((it) => `warning: ${it}`), ...repairs.map(describeRepair)].join("\n"),
    ...(!healthy && { status: "CORRUPT_DATA" as const }),
  };
}

function describeRepair({ device, blocksLost, blocksRepaired }: DeviceRepair): string {
  const lost = formatCount(blocksLost, "block");
  return `${device}: of ${lost} that its newest backup had lost, ${blocksRepaired} stored again`;
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
