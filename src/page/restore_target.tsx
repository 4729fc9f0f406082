/** The second step of a restore: a disk of this machine, or a new image file. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { TargetsDocument } from "../api/restore_schemas.ts";
import { formatBytes } from "../core/units.ts";
import { failureOf, get } from "./api_client.ts";
import { FailureBox } from "./facts.tsx";
import { type Destination, sortedTargets } from "./restore_steps.ts";
import type { Failure } from "./state.ts";

interface RestoreTargetProps {
  destination: Destination;
  setDestination: (destination: Destination) => void;
  isReady: boolean;
  isAsking: boolean;
  onBack: () => void;
  onNext: () => void;
}

export function RestoreTarget(props: RestoreTargetProps): JSX.Element {
  const { destination, setDestination, isReady, isAsking, onBack, onNext } = props;
  const [targets, setTargets] = useState<TargetsDocument["targets"]>();
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => {
    get<TargetsDocument>("/v1/targets").then(
      (document) => setTargets(sortedTargets(document)),
      (error: unknown) => setFailure(failureOf(error)),
    );
  }, []);
  const choose = (device: string): void => setDestination({ ...destination, device });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onNext();
      }}
    >
      <fieldset class="targets">
        <legend>Target</legend>
        {targets === undefined && failure === undefined && <p>Looking at the disks…</p>}
        {failure && <FailureBox failure={failure} />}
        {targets?.map((target) => (
          <TargetChoice key={target.path} {...{ target, choose }} chosen={destination.device} />
        ))}
        <label class="choice">
          <input
            type="radio"
            name="target"
            checked={destination.device === ""}
            onChange={() => choose("")}
          />
          <span>
            <b>A new image file</b> on this machine
          </span>
        </label>
        <label class="field">
          <span>Path of the file</span>
          <input
            type="text"
            placeholder="/var/tmp/restored.img"
            value={destination.file}
            disabled={destination.device !== ""}
            onInput={({ currentTarget }) =>
              setDestination({ ...destination, file: currentTarget.value })
            }
          />
        </label>
      </fieldset>
      <label class="choice">
        <input
          type="checkbox"
          checked={destination.changedOnly}
          onChange={({ currentTarget }) =>
            setDestination({ ...destination, changedOnly: currentTarget.checked })
          }
        />
        <span>
          <b>Write only what differs</b> reads the target first; kinder to its flash
        </span>
      </label>
      <footer class="dialog-foot">
        <button type="button" disabled={isAsking} onClick={onBack}>
          Back
        </button>
        <button type="submit" class="primary" disabled={!isReady || isAsking}>
          {isAsking ? "Making the plan…" : "Next: the plan"}
        </button>
      </footer>
    </form>
  );
}

interface TargetChoiceProps {
  target: TargetsDocument["targets"][number];
  chosen: string;
  choose: (device: string) => void;
}

function TargetChoice({ target, chosen, choose }: TargetChoiceProps): JSX.Element {
  const { path, sizeBytes, model, contents, mountedAt, whyNot } = target;
  const places = mountedAt.map((place) => `mounted at ${place}`);
  const found = contents.length > 0 ? contents.join(", ") : "nothing recognised on it";
  return (
    <label class="choice">
      <input
        type="radio"
        name="target"
        value={path}
        checked={chosen === path}
        disabled={whyNot !== null}
        onChange={() => choose(path)}
      />
      <span>
        <b>{path}</b>{" "}
        {[formatBytes(sizeBytes), model, found, ...places].filter(Boolean).join(" · ")}
        {whyNot !== null && <small>Not possible: {whyNot}</small>}
      </span>
    </label>
  );
}
