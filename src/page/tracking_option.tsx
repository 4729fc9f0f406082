/** Options that take effect at once: whether a disk is tracked and by which hook, and the config file. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { DiskDocument } from "../api/schemas.ts";
import { failureOf, post } from "./api_client.ts";
import { FailureBox } from "./facts.tsx";
import type { Failure } from "./state.ts";

const HOOKS = {
  block: "block layer: sees every write",
  buffer: "mark_buffer_dirty: the patent's, sees less",
  both: "both",
} as const;

export function TrackingOption({ disk }: { disk: DiskDocument }): JSX.Element {
  const { device, isTracked } = disk;
  const [hook, setHook] = useState<string>("block");
  const { act, isBusy, failure } = useAction();
  const toggle = (): Promise<void> =>
    isTracked
      ? act("/v1/track/stop", { devices: [device] })
      : act("/v1/track/start", { devices: [device], hook });
  return (
    <div class="options">
      <b>{device}</b>
      <span>{isTracked ? "is tracked" : "is not tracked: backups compare the whole disk"}</span>
      {!isTracked && (
        <label>
          Hook{" "}
          <select value={hook} onChange={({ currentTarget }) => setHook(currentTarget.value)}>
            {Object.entries(HOOKS).map(([name, words]) => (
              <option key={name} value={name}>
                {words}
              </option>
            ))}
          </select>
        </label>
      )}
      <button type="button" disabled={isBusy} onClick={() => void toggle()}>
        {isTracked ? "Stop tracking" : "Start tracking"} {device}
      </button>
      {failure && <FailureBox failure={failure} />}
    </div>
  );
}

export function ReloadOption(): JSX.Element {
  const { act, isBusy, failure } = useAction();
  return (
    <div class="options">
      <button type="button" disabled={isBusy} onClick={() => void act("/v1/reload", {})}>
        Read the config file again
      </button>
      {failure && <FailureBox failure={failure} />}
    </div>
  );
}

interface Action {
  act: (path: string, body: object) => Promise<void>;
  isBusy: boolean;
  failure: Failure | undefined;
}

function useAction(): Action {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const act = async (path: string, body: object): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    await post(path, body).catch((error: unknown) => setFailure(failureOf(error)));
    setBusy(false);
  };
  return { act, isBusy, failure };
}
