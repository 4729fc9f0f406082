/** The backups: a chart of their sizes, and a table of all that is known of them. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { BackupsDocument } from "../api/schemas.ts";
import { formatBytes, formatCount } from "../core/units.ts";
import { FailureBox } from "./facts.tsx";
import { formatTime, formatWhen } from "./format.ts";
import type { PageState } from "./state.ts";

export type Backup = BackupsDocument["backups"][number];

const ROWS_MAX = 20;
const BARS_MAX = 60;

interface HistoryProps {
  state: PageState;
  onRestore: (backupId: string) => void;
}

export function History({ state, onRestore }: HistoryProps): JSX.Element {
  const [showsAll, setShowsAll] = useState(false);
  const { backups, backupsFailure, nowMs } = state;
  const newestFirst = (backups?.backups ?? []).toReversed();
  const rows = showsAll ? newestFirst : newestFirst.slice(0, ROWS_MAX);
  return (
    <section class="card history" aria-labelledby="history-title">
      <header class="card-head">
        <h2 id="history-title">Backups</h2>
        <span class="muted">{backups && formatCount(newestFirst.length, "backup")}</span>
      </header>
      {backupsFailure && <FailureBox failure={backupsFailure} />}
      {backups?.backups.length === 0 && (
        <p class="words">None yet. Press Back up to take the first.</p>
      )}
      {newestFirst.length > 0 && <SizeChart backups={newestFirst.slice(0, BARS_MAX).reverse()} />}
      {newestFirst.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Taken</th>
              <th scope="col">Disk</th>
              <th scope="col">Type</th>
              <th scope="col" class="figure">
                Stored
              </th>
              <th scope="col">
                <span class="unseen">Action</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((backup) => (
              <Row key={backup.backupId} {...{ backup, nowMs, onRestore }} />
            ))}
          </tbody>
        </table>
      )}
      {rows.length < newestFirst.length && (
        <button type="button" onClick={() => setShowsAll(true)}>
          Show all {newestFirst.length}
        </button>
      )}
    </section>
  );
}

interface RowProps {
  backup: Backup;
  nowMs: number;
  onRestore: (backupId: string) => void;
}

function Row({ backup, nowMs, onRestore }: RowProps): JSX.Element {
  const { backupId, capturedAt, disk, type, consistency, bytesStored, blocksChanged } = backup;
  return (
    <tr>
      <td>
        {formatTime(capturedAt)}
        <small>
          {formatWhen(Date.parse(capturedAt), nowMs)}
          <span class="id"> · {backupId}</span>
        </small>
      </td>
      <td>
        {disk}
        <small>{backup.vmId}</small>
      </td>
      <td>
        {type}
        <small>
          {[consistency, backup.protected ? "protected" : "", ...backup.tags]
            .filter(Boolean)
            .join(", ")}
        </small>
      </td>
      <td class="figure">
        {formatBytes(bytesStored)}
        <small>{formatCount(blocksChanged, "block")}</small>
      </td>
      <td class="figure">
        <button
          type="button"
          aria-label={`Restore the backup of ${formatTime(capturedAt)}, ${disk}`}
          onClick={() => onRestore(backupId)}
        >
          Restore…
        </button>
      </td>
    </tr>
  );
}

const BAR = { width: 100 / BARS_MAX, height: 24 };

/** Stored bytes, oldest first. The table says the same in words. */
function SizeChart({ backups }: { backups: readonly Backup[] }): JSX.Element {
  const largest = Math.max(1, ...backups.map(({ bytesStored }) => bytesStored));
  const first = formatTime(backups[0]?.capturedAt ?? "");
  const last = formatTime(backups.at(-1)?.capturedAt ?? "");
  const label = `Stored bytes of ${formatCount(backups.length, "backup")}, from ${first} to ${last}; the largest is ${formatBytes(largest)}. The table below has each of them.`;
  return (
    <figure class="sizes">
      <svg
        viewBox={`0 0 100 ${BAR.height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={label}
      >
        {backups.map(({ backupId, bytesStored, type }, index) => {
          // The smallest is still seen.
          const height = Math.max(0.6, (bytesStored / largest) * BAR.height);
          const x = index * BAR.width;
          const place = {
            x: x + BAR.width * 0.12,
            y: BAR.height - height,
            width: BAR.width * 0.76,
            height,
          };
          return (
            <rect key={backupId} class={`bar is-${type}`} {...place}>
              <title>{`${backupId}: ${formatBytes(bytesStored)}`}</title>
            </rect>
          );
        })}
      </svg>
      <figcaption>
        <span>largest {formatBytes(largest)}</span>
        <span class="key is-base">base</span>
        <span class="key is-incremental">incremental</span>
      </figcaption>
    </figure>
  );
}
