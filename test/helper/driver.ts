import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import {
  encodeFrame,
  type Frame,
  type FrameName,
  type FrameOf,
  FrameReader,
  type Reading,
} from "../../src/frame/codec.ts";

const OUTPUT = new URL("../../helper/.output/", import.meta.url).pathname;

export interface DriverOptions {
  /** Folder on bpffs, one for each test. */
  readonly pins?: string;
  readonly legacy?: boolean;
  /** Given to the helper as descriptor 3. */
  readonly descriptor?: number;
  /** A program and its arguments that start the helper in their place. */
  readonly starter?: readonly string[];
  /** The helper that ibackup has, instead of the one with sanitizers. */
  readonly asShipped?: boolean;
}

/** The helper, unless told otherwise built with ASan and UBSan, driven over real pipes. */
export class Driver {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #reader = new FrameReader();
  readonly #readings: Reading[] = [];
  #wake: () => void = () => undefined;
  #request = 0;
  #stderr = "";

  constructor({
    pins = "/sys/fs/bpf/ibackup-none",
    legacy = false,
    descriptor,
    starter = [],
    asShipped = false,
  }: DriverOptions = {}) {
    const helper = `${OUTPUT}ibackup-helper${asShipped ? "" : "-asan"}`;
    const args = ["--pins", pins, ...(legacy ? ["--legacy"] : []), "--verbose"];
    const [program = helper, ...words] = [...starter, helper, ...args];
    this.#child = spawn(program, words, {
      stdio: ["pipe", "pipe", "pipe", ...(descriptor === undefined ? [] : [descriptor])],
    }) as ChildProcessWithoutNullStreams;
    this.#child.stdout.on("data", (bytes: Uint8Array) => {
      this.#readings.push(...this.#reader.push(bytes));
      this.#wake();
    });
    this.#child.on("close", () => this.#wake());
    this.#child.stdin.on("error", () => this.#wake());
    this.#child.stderr.on("data", (text) => {
      this.#stderr += String(text);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  closeInput(): void {
    this.#child.stdin.end();
  }

  /** Resolves when the helper has ended, with its exit status or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    if (!this.hasEnded) await once(this.#child, "close");
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  /** Sends bytes as they are. */
  write(bytes: Uint8Array): void {
    this.#child.stdin.write(bytes);
  }

  /** The next frame that the helper sends. Damage and the end are failures. */
  async next(): Promise<Frame> {
    for (;;) {
      const reading = this.#readings.shift();
      if (reading?.kind === "damage") throw new Error(`the helper sent damage: ${reading.reason}`);
      if (reading !== undefined) return reading.frame;
      if (this.hasEnded) throw new Error(`the helper ended: ${this.#stderr}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Sends a request and gathers the answers up to the one that ends them. */
  async ask(frame: Frame): Promise<Frame[]> {
    const request = ++this.#request;
    const last = LAST[frame.name] ?? "done";
    this.write(encodeFrame({ ...frame, request }));
    const answers: Frame[] = [];
    for (;;) {
      const answer = await this.next();
      if (answer.request !== request) continue;
      answers.push(answer);
      if (answer.name === last || answer.name === "error") return answers;
    }
  }

  /** Like `ask`, and picks the first answer of one kind; an error instead is thrown. */
  async askFor<N extends FrameName>(frame: Frame, name: N): Promise<FrameOf<N>> {
    const answers = await this.ask(frame);
    const found = answers.find((answer) => answer.name === name);
    if (found === undefined) throw new Error(`no ${name} in ${describeAll(answers)}`);
    return found as Frame as FrameOf<N>;
  }

  /** Closes standard input; the helper must end by itself, without complaint of a sanitizer. */
  async end(): Promise<void> {
    this.closeInput();
    const status = await this.ended();
    if (status !== 0) throw new Error(`exit status ${status}: ${this.#stderr}`);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.ended();
  }
}

/** The frame that ends the answers to a request, where it is not `done`. */
const LAST: Partial<Record<FrameName, FrameName>> = {
  helloRequest: "hello",
  attachRequest: "slot",
  geometryRequest: "geometry",
  thawRequest: "thawed",
};

function describeAll(frames: Frame[]): string {
  return frames.map(({ name, fields, tail }) => describe(name, fields, tail)).join(" ");
}

function describe(...parts: unknown[]): string {
  return JSON.stringify(parts, (_, value) => (typeof value === "bigint" ? String(value) : value));
}
