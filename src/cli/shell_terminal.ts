/** Lines that a user types, or that come from a pipe. */
import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";

export interface TerminalOptions {
  input: NodeJS.ReadStream;
  output: NodeJS.WriteStream;
  /** What can stand at the end of the line, and the part of the line that it stands for. */
  complete(line: string): [candidates: string[], part: string];
  /** Ctrl-C while nothing is asked for. */
  onInterrupt(): void;
}

export class Terminal {
  readonly #interface: Interface;
  readonly #output: NodeJS.WriteStream;
  /** Typed ahead, or piped. */
  readonly #lines: string[] = [];
  #answer: ((line: string | undefined) => void) | undefined;
  #hasEnded = false;
  #isHidden = false;

  constructor({ input, output, complete, onInterrupt }: TerminalOptions) {
    this.#output = output;
    const isTerminal = input.isTTY && output.isTTY;
    const shown = new Writable({
      write: (piece, _, done) => {
        if (!this.#isHidden) output.write(piece);
        done();
      },
    });
    Object.defineProperty(shown, "columns", { get: () => output.columns });
    this.#interface = createInterface({
      input,
      output: shown,
      terminal: isTerminal,
      completer: complete,
    });
    this.#interface.on("line", (line) => this.#take(line));
    this.#interface.on("SIGINT", () => this.#interrupt(onInterrupt));
    this.#interface.on("close", () => {
      this.#hasEnded = true;
      this.#answer?.(undefined);
    });
  }

  /** @returns Undefined: there is no more to come. */
  async ask(prompt: string): Promise<string | undefined> {
    this.#interface.setPrompt(prompt);
    return await this.#next();
  }

  /** What is typed is not shown, and not kept for the arrow keys. */
  async askHidden(prompt: string): Promise<string | undefined> {
    this.#output.write(prompt);
    this.#isHidden = true;
    try {
      this.#interface.setPrompt("");
      const line = await this.#next();
      forget(this.#interface, line);
      return line;
    } finally {
      this.#isHidden = false;
      this.#output.write("\n");
    }
  }

  close(): void {
    this.#interface.close();
  }

  async #next(): Promise<string | undefined> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#hasEnded) {
      if (!this.#isHidden) this.#output.write(`${this.#interface.getPrompt()}${line ?? ""}\n`);
      return line;
    }
    this.#interface.prompt();
    const answer = await new Promise<string | undefined>((resolve) => {
      this.#answer = resolve;
    });
    this.#answer = undefined;
    return answer;
  }

  #take(line: string): void {
    if (this.#answer === undefined) this.#lines.push(line);
    else this.#answer(line);
  }

  /** At a question it takes back what was typed. */
  #interrupt(onInterrupt: () => void): void {
    if (this.#answer === undefined) {
      onInterrupt();
      return;
    }
    this.#interface.write(null, { ctrl: true, name: "e" });
    this.#interface.write(null, { ctrl: true, name: "u" });
    this.#output.write("\n");
    this.#interface.prompt();
  }
}

/** The history is that of node:readline: newest first. */
function forget(from: Interface, line: string | undefined): void {
  const { history } = from as Interface & { history?: string[] };
  if (history?.[0] === line) history?.shift();
}
