/** Figures as the page writes them. Amounts and lengths of time: core/units.ts. Pure. */
import { formatDuration } from "../core/units.ts";

/** @param share From 0 to 1. @returns "0 %", "7 %", "100 %": the last only when all is done. */
export function formatPercent(share: number): string {
  return `${Math.floor(Math.min(1, Math.max(0, share)) * 100)} %`;
}

/** "just now", "in 4 min", "3 h ago": one unit is enough for a glance. */
export function formatWhen(atMs: number, nowMs: number): string {
  const distance = Math.abs(atMs - nowMs);
  if (distance < 5_000) return atMs > nowMs ? "now" : "just now";
  const amount = coarse(distance);
  return atMs > nowMs ? `in ${amount}` : `${amount} ago`;
}

function coarse(durationMs: number): string {
  if (durationMs < 60_000) return `${Math.round(durationMs / 1000)} s`;
  if (durationMs < 3_600_000) return `${Math.round(durationMs / 60_000)} min`;
  if (durationMs < 48 * 3_600_000) return `${Math.round(durationMs / 3_600_000)} h`;
  return `${Math.round(durationMs / 86_400_000)} days`;
}

/** @param leftMs Undefined: nobody knows yet. */
export function formatLeft(leftMs: number | undefined): string {
  return leftMs === undefined
    ? ""
    : `about ${formatDuration(Math.ceil(leftMs / 1000) * 1000)} left`;
}

/** `2026-11-23T14:05:06.789Z` -> `2026-11-23 14:05:06Z`, as `ibackup list` writes it. */
export function formatTime(instant: string): string {
  return instant.replace("T", " ").replace(/\.\d+Z$/, "Z");
}

/** The first whole second that is not before an instant, as `formatTime` writes it. */
export function secondAfter(instant: string): string {
  const seconds = Math.ceil(Date.parse(instant) / 1000);
  return formatTime(new Date(seconds * 1000).toISOString());
}

/** @param text As `formatTime` writes it: UTC. @returns RFC 3339; undefined when it is no instant. */
export function instantOf(text: string): string | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)Z?$/.exec(text.trim());
  const date = new Date(`${match?.[1]}T${match?.[2]}Z`);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
