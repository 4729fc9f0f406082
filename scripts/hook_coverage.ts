/**
 * Measures what each hook reports of the blocks that truly change, for each file system and kind
 * of write, and prints it as Markdown (docs/HOOKS.md).
 *
 *   npm run hook-coverage              all file systems
 *   npm run hook-coverage -- ext4 xfs  only those whose name holds one of the words
 *
 * Needs root, `npm run build`, and what `scripts/setup --test` installs. Exit status 1 when the
 * hook `block` missed a block.
 */
import { release } from "node:os";
import { argv, exit } from "node:process";
import { FILE_SYSTEMS, isKnown } from "./hook_coverage/file_systems.ts";
import { type Coverage, measureFileSystem } from "./hook_coverage/measure.ts";

const count = new Intl.NumberFormat("en-US");

/** How many of the changed blocks were reported. */
function share(reported: number, changed: number): string {
  if (changed === 0) return "-";
  // Never rounded up to all of them.
  const percent = Math.floor((1000 * reported) / changed) / 10;
  return `${count.format(reported)} (${percent} %)`;
}

function row({ kind, result }: Coverage): string {
  const cells =
    result === undefined
      ? ["not offered", "", "", ""]
      : [
          count.format(result.changed),
          share(result.byBlock, result.changed),
          share(result.byBuffer, result.changed),
          count.format(result.invalid),
        ];
  return `| ${[kind, ...cells].join(" | ")} |`;
}

const words = argv.slice(2);
const chosen = FILE_SYSTEMS.filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);
console.log(`Kernel ${release()}, ${new Date().toISOString().slice(0, 10)}.`);
let missed = 0;
let hook = "none";
for (const fileSystem of chosen) {
  console.log(`\n### ${fileSystem.name}\n`);
  if (!isKnown(fileSystem)) {
    console.log("This kernel does not have it.");
    continue;
  }
  const { coverages, bufferHook, taints } = await measureFileSystem(fileSystem);
  hook = bufferHook;
  console.log(
    "| kind of write | blocks changed | hook `block` | hook `buffer` | invalid numbers |",
  );
  console.log("| --- | ---: | ---: | ---: | ---: |");
  for (const coverage of coverages) {
    console.log(row(coverage));
    if (coverage.result) missed += coverage.result.changed - coverage.result.byBlock;
  }
  if (taints.length > 0) console.log(`\nTaints of the hook \`block\`: ${taints.join(", ")}.`);
}
console.log(`\nThe hook \`block\` missed ${count.format(missed)} changed blocks.`);
console.log(`The hook \`buffer\` was a ${hook} in mark_buffer_dirty.`);
exit(missed === 0 && chosen.length > 0 ? 0 : 1);
