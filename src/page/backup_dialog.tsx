/** Asks what to back up, and has it begun. How it goes on, the page shows. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { DiskDocument, FlushRequest } from "../api/schemas.ts";
import { failureOf, post } from "./api_client.ts";
import { Dialog } from "./dialog.tsx";
import { FailureBox } from "./facts.tsx";
import type { Failure } from "./state.ts";

interface BackupDialogProps {
  disks: readonly DiskDocument[];
  /** Chosen to begin with; empty: all. */
  device: string;
  onClose: () => void;
}

export function BackupDialog({ disks, device, onClose }: BackupDialogProps): JSX.Element {
  const [chosen, choose] = useState(device);
  const [isBase, setBase] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const start = async (): Promise<void> => {
    setAsking(true);
    setFailure(undefined);
    const asked: FlushRequest = {
      ...(chosen !== "" && { devices: [chosen] }),
      ...(isBase && { base: true }),
    };
    try {
      await post("/v1/flushes", asked);
      onClose();
    } catch (error) {
      setFailure(failureOf(error));
      setAsking(false);
    }
  };
  return (
    <Dialog title="Back up" isBusy={isAsking} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <label class="field">
          <span>Disk</span>
          <select value={chosen} onChange={({ currentTarget }) => choose(currentTarget.value)}>
            <option value="">All disks ({disks.length})</option>
            {disks.map((disk) => (
              <option key={disk.device} value={disk.device}>
                {disk.device}
              </option>
            ))}
          </select>
        </label>
        <fieldset>
          <legend>Kind</legend>
          <label class="choice">
            <input type="radio" name="kind" checked={!isBase} onChange={() => setBase(false)} />
            <span>
              <b>Incremental</b> what has changed since the newest backup; the first one is a base
            </span>
          </label>
          <label class="choice">
            <input type="radio" name="kind" checked={isBase} onChange={() => setBase(true)} />
            <span>
              <b>Base</b> the whole disk, needing no backup before it
            </span>
          </label>
        </fieldset>
        {failure && <FailureBox failure={failure} />}
        <footer class="dialog-foot">
          <button type="submit" class="primary" disabled={isAsking}>
            Start backup
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
