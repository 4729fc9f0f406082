/** What has to be seen first: alarms, a lost connection, what is under way, and how it ended. */
import type { JSX } from "preact";
import type { RestoreDocument } from "../api/restore_schemas.ts";
import type { FlushDocument } from "../api/schemas.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { FailureBox, Progress } from "./facts.tsx";
import { formatTime } from "./format.ts";
import { type PageState, stepOf } from "./state.ts";

/** How long the page tells that a backup was taken. */
const TOLD_MS = 60_000;

/** No words in it change by themselves: a screen reader would say all of it again. */
export function Alarms({ state }: { state: PageState }): JSX.Element {
  const { connection, status } = state;
  const alarms = status?.alarms ?? [];
  return (
    <div class="alarms" role="alert">
      {connection.kind === "lost" && (
        <div class="failure">
          <strong>Connection lost</strong>
          <span>
            What is shown is as of {formatTime(new Date(connection.sinceMs).toISOString())}.
            Tracking and backups go on without this page, if the daemon runs.
          </span>
          <span class="fix">
            Trying again by itself. If that does not help, run `ibackup ui` again.
          </span>
        </div>
      )}
      {alarms.map(({ kind, device, since, failure }) => (
        <div class="failure" key={`${kind} ${device}`}>
          <strong>
            {failure.what}
            {device !== null && !failure.what.includes(device) && ` (${device})`}
          </strong>
          <span>
            {failure.why} · since {formatTime(since)}
          </span>
          <span class="fix">{failure.fix}</span>
        </div>
      ))}
    </div>
  );
}

export function UnderWay({ state }: { state: PageState }): JSX.Element {
  const { flushes, endedFlushes, restores, nowMs } = state;
  const running = restores.filter((restore) => restore.state === "running");
  const told = endedFlushes.filter(
    ({ endedAt, result, failure }) =>
      (failure !== null || result !== null) && nowMs - Date.parse(endedAt ?? "") < TOLD_MS,
  );
  const isEmpty = flushes.length + running.length + told.length === 0;
  return (
    <section class={isEmpty ? "jobs" : "jobs card"} aria-label="Under way">
      {flushes.map((flush) => (
        <FlushJob key={flush.id} {...{ flush, state }} />
      ))}
      {running.map((restore) => (
        <RestoreJob key={restore.id} {...{ restore, state }} />
      ))}
      <div class="told" role="status">
        {told.map((flush) => (
          <EndedFlush key={flush.id} flush={flush} />
        ))}
      </div>
    </section>
  );
}

function FlushJob({ flush, state }: { flush: FlushDocument; state: PageState }): JSX.Element {
  const { id, device, progress, why } = flush;
  const step = progress ?? {
    label: flush.state === "waiting" ? "waits for its turn" : "begins",
    doneBytes: 0,
    totalBytes: 0,
  };
  return (
    <div class="job">
      <span>
        <b>Backing up {device}</b> <span class="muted">{why}</span>
      </span>
      <Progress
        label={`Backup of ${device}`}
        step={step}
        pace={state.paces[id]}
        nowMs={state.nowMs}
      />
    </div>
  );
}

function RestoreJob({
  restore,
  state,
}: {
  restore: RestoreDocument;
  state: PageState;
}): JSX.Element {
  const { id, target, disk } = restore;
  return (
    <div class="job">
      <b>
        Restoring {disk} to {target}
      </b>
      <Progress
        label={`Restore to ${target}`}
        step={stepOf(restore)}
        pace={state.paces[id]}
        nowMs={state.nowMs}
      />
    </div>
  );
}

function EndedFlush({ flush: { device, result, failure } }: { flush: FlushDocument }): JSX.Element {
  if (failure !== null) return <FailureBox failure={failure} />;
  const stored = Number(result?.["bytesStored"] ?? 0);
  const took = Number(result?.["durationMs"] ?? 0);
  return (
    <p class="job is-done">
      <b>Backup of {device} taken</b>{" "}
      <span class="muted">
        {String(result?.["type"])}, {String(result?.["consistency"])}, {formatBytes(stored)} stored
        in {formatDuration(took)}
      </span>
    </p>
  );
}
