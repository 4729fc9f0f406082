/** The first step of a restore: which backup, or as of which instant. */
import type { JSX } from "preact";
import { formatBytes } from "../core/units.ts";
import { formatTime, instantOf } from "./format.ts";
import type { Backup } from "./history.tsx";
import { placeOf, placesIn, type Wanted, withPlace } from "./restore_steps.ts";

interface RestoreWantedProps {
  backups: readonly Backup[];
  wanted: Wanted;
  setWanted: (wanted: Wanted) => void;
  onNext: () => void;
}

export function RestoreWanted(props: RestoreWantedProps): JSX.Element {
  const { backups, wanted, setWanted, onNext } = props;
  const own = backups.filter((backup) => placeOf(backup) === wanted.place).reverse();
  const isReady =
    wanted.by === "backup" ? wanted.backupId !== "" : instantOf(wanted.instant) !== undefined;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onNext();
      }}
    >
      <label class="field">
        <span>Disk</span>
        <select
          value={wanted.place}
          onChange={({ currentTarget }) =>
            setWanted(withPlace(wanted, currentTarget.value, backups))
          }
        >
          {placesIn(backups).map((place) => (
            <option key={place}>{place}</option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>As it was</legend>
        <label class="choice">
          <input
            type="radio"
            name="by"
            checked={wanted.by === "backup"}
            onChange={() => setWanted({ ...wanted, by: "backup" })}
          />
          <span>
            <b>In a backup</b>
          </span>
        </label>
        <label class="field">
          <span>Backup</span>
          <select
            value={wanted.backupId}
            disabled={wanted.by !== "backup"}
            onChange={({ currentTarget }) =>
              setWanted({ ...wanted, backupId: currentTarget.value })
            }
          >
            {own.map((backup) => (
              <option key={backup.backupId} value={backup.backupId}>
                {formatTime(backup.capturedAt)}, {backup.type}, {formatBytes(backup.bytesStored)}
              </option>
            ))}
          </select>
        </label>
        <label class="choice">
          <input
            type="radio"
            name="by"
            checked={wanted.by === "instant"}
            onChange={() => setWanted({ ...wanted, by: "instant" })}
          />
          <span>
            <b>At an instant</b> the newest backup not later than this
          </span>
        </label>
        <label class="field">
          <span>Instant (UTC)</span>
          <input
            type="text"
            placeholder="2026-11-23 14:05:06Z"
            value={wanted.instant}
            disabled={wanted.by !== "instant"}
            onInput={({ currentTarget }) => setWanted({ ...wanted, instant: currentTarget.value })}
          />
        </label>
      </fieldset>
      <footer class="dialog-foot">
        <button type="submit" class="primary" disabled={!isReady}>
          Next: where to
        </button>
      </footer>
    </form>
  );
}
