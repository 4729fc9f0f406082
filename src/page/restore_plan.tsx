/** The third step of a restore: what will be written, what is lost, and the typed confirmation. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { RestorePlanDocument } from "../api/restore_schemas.ts";
import { formatBytes, formatCount } from "../core/units.ts";
import { Facts } from "./facts.tsx";
import { formatTime } from "./format.ts";

interface RestorePlanProps {
  plan: RestorePlanDocument;
  isAsking: boolean;
  onBack: () => void;
  onStart: (confirmation: string, verify: boolean) => void;
}

export function RestorePlan({ plan, isAsking, onBack, onStart }: RestorePlanProps): JSX.Element {
  const [typed, setTyped] = useState("");
  const [verify, setVerify] = useState(true);
  const { target, confirmation, disk, vmId, losses, warnings } = plan;
  const isConfirmed = typed === confirmation;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (isConfirmed) onStart(typed, verify);
      }}
    >
      <Facts
        of={[
          ["Backup", `${disk} of ${vmId}, ${formatTime(plan.capturedAt)}`],
          ["Built from", formatCount(plan.chainLength, "backup")],
          ["Target", `${target.path}, ${formatBytes(target.sizeBytes)}`],
          ["Data written", formatBytes(plan.bytesToWrite)],
          ["Zeroes written", formatBytes(plan.bytesToZero)],
          ["Fetched from the store", formatBytes(plan.bytesToFetch)],
        ]}
      />
      {warnings.map((warning) => (
        <p key={warning} class="losses" role="alert">
          {warning}
        </p>
      ))}
      <div class={losses.length === 0 ? "losses is-none" : "losses"}>
        <h3>What is lost</h3>
        {losses.length === 0 ? (
          <p>Nothing: the target is new.</p>
        ) : (
          <ul>
            {losses.map((loss) => (
              <li key={loss}>{loss}</li>
            ))}
          </ul>
        )}
      </div>
      <label class="choice">
        <input
          type="checkbox"
          checked={verify}
          onChange={({ currentTarget }) => setVerify(currentTarget.checked)}
        />
        <span>
          <b>Verify afterwards</b> reads all of it back and compares
        </span>
      </label>
      <label class="field">
        <span>
          Type <code>{confirmation}</code> to confirm
        </span>
        <input
          type="text"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={typed}
          onInput={({ currentTarget }) => setTyped(currentTarget.value)}
        />
      </label>
      <footer class="dialog-foot">
        <button type="button" disabled={isAsking} onClick={onBack}>
          Back
        </button>
        <button type="submit" class="primary is-danger" disabled={!isConfirmed || isAsking}>
          Overwrite and restore
        </button>
      </footer>
    </form>
  );
}
