/**
 * Stands between ibackup and the helper and damages one frame of its output:
 * `bun damaging_proxy.ts NUMBER HELPER [ARGUMENT...]`, the first frame being number 1.
 */
import { spawn } from "node:child_process";
import { argv, exit, stdin, stdout } from "node:process";

const [number = "0", helper = "", ...args] = argv.slice(2);
const child = spawn(helper, args, { stdio: ["pipe", "pipe", "inherit"] });
let frame = 1;
stdin.on("data", (bytes) => child.stdin.write(bytes));
stdin.on("end", () => child.stdin.end());
child.stdout.on("data", (bytes: Uint8Array) => {
  const copy = Uint8Array.from(bytes);
  for (const [at, byte] of bytes.entries()) {
    // The byte before the newline belongs to the checksum.
    if (byte !== 0x0a) continue;
    if (frame++ === Number(number)) copy[at - 1] = (bytes[at - 1] ?? 0) ^ 0x41;
  }
  stdout.write(copy);
});
child.on("close", (status) => exit(status ?? 1));
