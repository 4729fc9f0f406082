/** How long a job will still take, by how fast its present step goes. Pure. */

/** The sight of a step when it began. */
export interface Pace {
  label: string;
  sinceMs: number;
  fromBytes: number;
}

/** Progress of whatever kind; `totalBytes` 0: nobody knows. */
export interface Step {
  label: string;
  doneBytes: number;
  totalBytes: number;
}

/** Before, a guess would jump about. */
const SURE_MS = 3_000;

/** @param before Of the same job. */
export function paceOf(before: Pace | undefined, step: Step, nowMs: number): Pace {
  const isSame = before?.label === step.label && before.fromBytes <= step.doneBytes;
  return isSame ? before : { label: step.label, sinceMs: nowMs, fromBytes: step.doneBytes };
}

/** @returns Undefined while nobody can know. */
export function leftMs(pace: Pace | undefined, step: Step, nowMs: number): number | undefined {
  if (pace === undefined || step.totalBytes === 0) return undefined;
  const elapsed = nowMs - pace.sinceMs;
  const done = step.doneBytes - pace.fromBytes;
  if (elapsed < SURE_MS || done <= 0) return undefined;
  return ((step.totalBytes - step.doneBytes) * elapsed) / done;
}
