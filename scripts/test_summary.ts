/**
 * Turns what a vitest run wrote into one line, `N passed, N failed`, and an exit status.
 *
 *   bun scripts/test_summary.ts CHECKS_STATUS
 *
 * Failed checks count as one failure. In CI (`CI=true`) a skipped test and anything left behind in
 * the kernel count as failures, too.
 */

import { existsSync, readFileSync } from "node:fs";
import { argv, env, exit } from "node:process";

interface Results {
  success: boolean;
  numPassedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: TestFile[];
}

interface TestFile {
  name: string;
  status: string;
  message: string;
  assertionResults: { status: string; fullName: string }[];
}

const RESULTS_FILE = "dist/test_results.json";
const LEAKS_FILE = "dist/test_leaks.txt";

/** One line for each failure of the run. */
function failuresOf(results: Results): string[] {
  const failures = results.testResults.flatMap((file) => {
    const failed = file.assertionResults.filter(({ status }) => status === "failed");
    if (file.status === "failed" && failed.length === 0) return [`${file.name}: ${file.message}`];
    return failed.map(({ fullName }) => `${file.name}: ${fullName}`);
  });
  if (!results.success && failures.length === 0) failures.push("vitest itself failed");
  return failures;
}

/** What fails a run in CI only. */
function lapsesOf(results: Results): string[] {
  const skippedCount = results.numPendingTests + results.numTodoTests;
  const leaks = existsSync(LEAKS_FILE) ? readFileSync(LEAKS_FILE, "utf8").split("\n") : [];
  return [
    ...Array.from({ length: skippedCount }, (_, n) => `skipped test ${n + 1} of ${skippedCount}`),
    ...leaks.filter(Boolean).map((leak) => `left behind: ${leak}`),
  ];
}

const failures = argv[2] === "0" ? [] : ["scripts/check.ts"];
let passedCount = 0;
if (existsSync(RESULTS_FILE)) {
  const results = JSON.parse(readFileSync(RESULTS_FILE, "utf8")) as Results;
  passedCount = results.numPassedTests;
  failures.push(...failuresOf(results));
  if (env["CI"] === "true") failures.push(...lapsesOf(results));
} else {
  failures.push(`vitest wrote no ${RESULTS_FILE}`);
}

for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`${passedCount} passed, ${failures.length} failed`);
exit(failures.length === 0 && passedCount > 0 ? 0 : 1);
