/** What is wrong now. An alarm is raised once, and passes when its cause has gone. */
import type { AlarmDocument } from "../api/schemas.ts";
import { errorDocument } from "../errors.ts";

export type AlarmKind = AlarmDocument["kind"];

export interface AlarmChange {
  event: "raised" | "passed";
  alarm: AlarmDocument;
}

export class Alarms {
  readonly #now: () => Date;
  readonly #onChange: (change: AlarmChange) => void;
  readonly #alarms = new Map<string, AlarmDocument>();

  constructor(now: () => Date, onChange: (change: AlarmChange) => void) {
    this.#now = now;
    this.#onChange = onChange;
  }

  /** In the order in which they were raised. */
  get list(): AlarmDocument[] {
    return [...this.#alarms.values()];
  }

  raise(kind: AlarmKind, device: string | null, error: unknown): void {
    const { code, exitStatus, what, why, fix } = errorDocument(error).error;
    const failure = { code, exitStatus, what, why, fix };
    const key = keyOf(kind, device);
    const before = this.#alarms.get(key);
    const since = before?.since ?? this.#now().toISOString();
    const alarm = { kind, device, since, failure };
    this.#alarms.set(key, alarm);
    if (before === undefined || before.failure.code !== code) {
      this.#onChange({ event: "raised", alarm });
    }
  }

  pass(kind: AlarmKind, device: string | null): void {
    const alarm = this.#alarms.get(keyOf(kind, device));
    if (alarm === undefined) return;
    this.#alarms.delete(keyOf(kind, device));
    this.#onChange({ event: "passed", alarm });
  }

  /** Of a disk that the daemon no longer looks after. */
  forget(device: string): void {
    for (const [key, alarm] of this.#alarms) if (alarm.device === device) this.#alarms.delete(key);
  }
}

function keyOf(kind: AlarmKind, device: string | null): string {
  return `${kind} ${device ?? ""}`;
}
