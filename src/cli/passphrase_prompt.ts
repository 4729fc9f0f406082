/** Reads what is typed at a terminal without showing it. */
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { IbackupError } from "../errors.ts";
import type { Terminal } from "../job/context.ts";

/**
 * The question goes to standard error, as all that is for people.
 *
 * @returns Undefined unless both are a terminal: nothing in a pipe waits for an answer.
 */
export function openTerminal(
  input: NodeJS.ReadStream,
  output: NodeJS.WriteStream,
): Terminal | undefined {
  if (!input.isTTY || !output.isTTY) return undefined;
  const ask = (question: string) =>
    new Promise<string>((resolve, reject) => {
      // readline switches the echo of the terminal off, and would write what is typed itself.
      const nowhere = new Writable({ write: (_bytes, _encoding, done) => done() });
      const lines = createInterface({ input, output: nowhere, terminal: true, historySize: 0 });
      output.write(question);
      let answer = "";
      lines.once("SIGINT", () => {
        reject(interrupted());
        lines.close();
      });
      lines.once("line", (line) => {
        answer = line;
        lines.close();
      });
      lines.once("close", () => {
        output.write("\n");
        resolve(answer);
      });
    });
  return { ask };
}

function interrupted(): IbackupError {
  return new IbackupError("INTERRUPTED", "Interrupted", {
    why: "Ctrl-C was typed in place of the passphrase",
    fix: "run the command again; nothing was done",
  });
}
