/** Small pieces that panels, dialogs and the page share. */
import type { ComponentChildren, JSX } from "preact";
import { formatBytes } from "../core/units.ts";
import { formatLeft, formatPercent } from "./format.ts";
import { leftMs, type Pace, type Step } from "./pace.ts";
import type { Failure } from "./state.ts";

export type Fact = readonly [name: string, value: ComponentChildren];

export function Facts({ of }: { of: readonly Fact[] }): JSX.Element {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function FailureBox({ failure }: { failure: Failure }): JSX.Element {
  const { what, why, fix } = failure;
  return (
    <div class="failure" role="alert">
      <strong>{what}</strong>
      <span>{why}</span>
      <span class="fix">{fix}</span>
    </div>
  );
}

interface ProgressProps {
  label: string;
  step: Step;
  pace: Pace | undefined;
  nowMs: number;
}

/** Percentage, bytes, and the time left, where they are known. */
export function Progress({ label, step, pace, nowMs }: ProgressProps): JSX.Element {
  const { doneBytes, totalBytes } = step;
  const isKnown = totalBytes > 0;
  const share = isKnown ? Math.min(1, doneBytes / totalBytes) : 0;
  const words = isKnown
    ? [formatPercent(share), `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`]
    : [];
  const text = [step.label, ...words, formatLeft(leftMs(pace, step, nowMs))].filter(Boolean);
  return (
    <div class="progress">
      <svg
        class={isKnown ? "progress-bar" : "progress-bar is-unknown"}
        viewBox="0 0 100 2"
        preserveAspectRatio="none"
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuetext={text.join(", ")}
        {...(isKnown && { "aria-valuenow": Math.floor(share * 100) })}
      >
        <rect class="progress-track" width="100" height="2" />
        <rect class="progress-done" width={isKnown ? share * 100 : 100} height="2" />
      </svg>
      <span class="progress-text">{text.join(" · ")}</span>
    </div>
  );
}
