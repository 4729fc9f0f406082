/** The last step of a restore: how far it is, and what came of it. */
import type { JSX } from "preact";
import type { RestoreDocument } from "../api/restore_schemas.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { Facts, FailureBox, Progress } from "./facts.tsx";
import { type PageState, stepOf } from "./state.ts";

interface RestoreRunProps {
  restore: RestoreDocument;
  state: PageState;
  onClose: () => void;
}

export function RestoreRun({ restore, state, onClose }: RestoreRunProps): JSX.Element {
  const { target, id, messages, error } = restore;
  if (restore.state === "running") {
    return (
      <div class="run">
        <Progress
          label={`Restore to ${target}`}
          step={stepOf(restore)}
          pace={state.paces[id]}
          nowMs={state.nowMs}
        />
        <p class="words">
          It goes on when this page is closed. Until it has ended, {target} is no whole disk.
        </p>
      </div>
    );
  }
  return (
    <div class="run">
      {error === null ? <Outcome restore={restore} /> : <FailureBox failure={error} />}
      {messages.length > 0 && (
        <ul class="messages">
          {messages.map((message) => (
            <li key={message}>{message}</li>
          ))}
        </ul>
      )}
      <footer class="dialog-foot">
        <button type="button" class="primary" onClick={onClose}>
          Done
        </button>
      </footer>
    </div>
  );
}

function Outcome({ restore }: { restore: RestoreDocument }): JSX.Element {
  const { target, bytesWritten, verified, startedAt, endedAt, backupId } = restore;
  const tookMs = Date.parse(endedAt ?? startedAt) - Date.parse(startedAt);
  return (
    <>
      <p class="outcome" role="status">
        {verified === true
          ? `Verified: ${target} is identical to the backup.`
          : `${target} is restored. It was not verified.`}
      </p>
      <Facts
        of={[
          ["Backup", backupId],
          ["Written", bytesWritten === null ? "unknown" : formatBytes(bytesWritten)],
          ["Took", formatDuration(tookMs)],
        ]}
      />
    </>
  );
}
