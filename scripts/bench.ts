/**
 * Measures how good ibackup is, always against something else in the same run.
 *
 *   npm run bench                      all figures, as a table
 *   npm run bench -- tracking          only those whose name holds one of the words
 *   npm run bench -- --quick           fewer and shorter rounds: does it still work?
 *   npm run bench -- --json            one JSON document on standard output
 *
 * Needs root, `npm run build`, and what `scripts/setup --test` installs. Exit status 1 when a
 * figure misses its goal.
 */
import { cpus, release, totalmem } from "node:os";
import { exit } from "node:process";
import { parseArgs } from "node:util";
import { CHANGED_BLOCKS } from "./bench/changed_blocks.ts";
import type { Figure, Value } from "./bench/figure.ts";
import { FLUSH_AND_DISK_SIZE } from "./bench/flush_and_disk_size.ts";
import { FREEZE } from "./bench/freeze.ts";
import { REPOSITORY_SCALE } from "./bench/repository_scale.ts";
import { TRACKING_COST } from "./bench/tracking_cost.ts";

/** Each in a file of its own. */
const FIGURES: Figure[] = [
  TRACKING_COST,
  FLUSH_AND_DISK_SIZE,
  FREEZE,
  CHANGED_BLOCKS,
  REPOSITORY_SCALE,
];

interface Row extends Value {
  figure: string;
  passed: boolean | null;
}

function isPassed({ measured, goal }: Value): boolean | null {
  if (goal === undefined) return null;
  return "atLeast" in goal ? measured >= goal.atLeast : measured <= goal.atMost;
}

function goalText({ goal, unit }: Value): string {
  if (goal === undefined) return "";
  return "atLeast" in goal ? `>= ${goal.atLeast}${unit}` : `<= ${goal.atMost}${unit}`;
}

function tableRow(row: Row): string {
  const verdict = row.passed === null ? "" : row.passed ? "PASS" : "FAIL";
  const measured = `${row.measured.toFixed(row.decimals)}${row.unit}`;
  const cells = [row.figure, row.name, goalText(row), measured, row.spread ?? "", verdict];
  return `| ${cells.join(" | ")} |`;
}

function describeMachine(): string {
  const [processor] = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  return `${cpus().length} x ${processor?.model ?? "unknown processor"}, ${memory} GiB, Linux ${release()}`;
}

const { values: options, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const chosen = FIGURES.filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);
const say = (line: string): void => console.error(line);

const rows: Row[] = [];
for (const { name, measure } of chosen) {
  say(`measuring: ${name}`);
  for (const value of await measure({ quick: options.quick, say })) {
    rows.push({ figure: name, ...value, passed: isPassed(value) });
  }
}
const head = { machine: describeMachine(), date: new Date().toISOString(), quick: options.quick };
if (options.json) {
  console.log(JSON.stringify({ ...head, figures: rows }, undefined, 2));
} else {
  console.log(`${head.machine}, ${head.date.slice(0, 10)}${head.quick ? ", --quick" : ""}\n`);
  console.log("| figure | what | goal | measured | spread | |");
  console.log("| --- | --- | ---: | ---: | --- | --- |");
  for (const row of rows) console.log(tableRow(row));
}
exit(rows.length > 0 && rows.every(({ passed }) => passed !== false) ? 0 : 1);
