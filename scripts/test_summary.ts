/**
 * Turns what a vitest run wrote into one line, `N passed, N failed`, and an exit status.
 *
 * In CI (`CI=true`) a skipped test and anything left behind in the kernel count as failures.
 */

import { existsSync, readFileSync } from "node:fs";
import { env, exit } from "node:process";

interface Results {
  success: boolean;
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { name: string; status: string; message: string; assertionResults: unknown[] }[];
}

const results = JSON.parse(readFileSync("dist/test_results.json", "utf8")) as Results;
const inCi = env["CI"] === "true";

/** Files that failed before any of their tests could run. */
const brokenFiles = results.testResults.filter(
  (file) => file.status === "failed" && file.assertionResults.length === 0,
);
for (const file of brokenFiles) console.log(`could not run: ${file.name}: ${file.message}`);

const skippedCount = results.numPendingTests + results.numTodoTests;
if (skippedCount > 0) console.log(`skipped: ${skippedCount}`);

const leaks = existsSync("dist/test_leaks.txt")
  ? readFileSync("dist/test_leaks.txt", "utf8").split("\n").filter(Boolean)
  : [];
if (inCi) for (const leak of leaks) console.log(`left behind: ${leak}`);

const failedCount =
  results.numFailedTests + brokenFiles.length + (inCi ? skippedCount + leaks.length : 0);
console.log(`${results.numPassedTests} passed, ${failedCount} failed`);
exit(failedCount === 0 && results.success && results.numPassedTests > 0 ? 0 : 1);
