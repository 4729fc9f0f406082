/** A program on a pseudo terminal, as somebody at a keyboard has it. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";

const WAIT_MS = 30_000;

export class Dialogue {
  readonly #process: ChildProcessWithoutNullStreams;
  /** All that was on the screen. */
  text = "";
  #from = 0;

  constructor(command: readonly string[], env: Record<string, string>) {
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    const args = ["--quiet", "--return", "--command", `stty cols 200; exec ${quoted}`, "/dev/null"];
    this.#process = spawn("script", args, { env: { SHELL: "/bin/sh", ...env }, cwd: "/" });
    this.#process.stdout.on("data", (bytes) => {
      this.text += String(bytes);
    });
  }

  /** @returns What came since the last wait, up to and with the text. */
  async until(wanted: string): Promise<string> {
    const late = AbortSignal.timeout(WAIT_MS);
    for (;;) {
      const end = this.text.indexOf(wanted, this.#from);
      if (end >= 0) {
        const seen = this.text.slice(this.#from, end + wanted.length);
        this.#from = end + wanted.length;
        return seen;
      }
      if (this.#process.exitCode !== null)
        throw new Error(`ended without "${wanted}":\n${this.text}`);
      await once(this.#process.stdout, "data", { signal: late }).catch(() => {
        throw new Error(`never said "${wanted}":\n${this.text}`);
      });
    }
  }

  type(text: string): void {
    this.#process.stdin.write(text);
  }

  /** Waits for a question, and answers it. @returns What came before. */
  async answer(question: string, text: string): Promise<string> {
    const seen = await this.until(question);
    this.type(`${text}\r`);
    return seen;
  }

  /** @returns The exit status of the program. */
  async end(): Promise<number | null> {
    if (this.#process.exitCode === null) await once(this.#process, "exit");
    return this.#process.exitCode;
  }

  kill(): void {
    this.#process.kill();
  }
}
