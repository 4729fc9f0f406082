/**
 * The helper as a child process: requests go to its standard input, answers come from its
 * standard output, both as frames. It ends when this process closes the pipe, or dies.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { assert, IbackupError, messageOf } from "../errors.ts";
import {
  encodeFrame,
  type Frame,
  type FrameName,
  type FrameOf,
  FrameReader,
} from "../frame/codec.ts";
import { helperError } from "./helper_error.ts";

export interface HelperOptions {
  /** The executable. */
  path: string;
  /** Arguments, such as another folder for the pins. */
  args?: readonly string[];
  /** A descriptor that the helper inherits as number 3: the target of a restore. */
  descriptor?: number;
}

/** The frames that a request may be made of, without what this class adds. */
export type Request = { [N in RequestName]: Omit<FrameOf<N>, "request"> }[RequestName];
type RequestName = Extract<FrameName, `${string}Request`>;

export interface Answer {
  frames: readonly Frame[];
  /** True when a frame of the answer arrived damaged: what is missing is unknown. */
  damaged: boolean;
}

/** The frame that ends the answer to each request. An `error` ends every answer. */
const LAST_FRAME: Readonly<Record<RequestName, FrameName>> = {
  helloRequest: "hello",
  attachRequest: "slot",
  detachRequest: "done",
  statusRequest: "done",
  collectRequest: "done",
  listenRequest: "done",
  geometryRequest: "geometry",
  zeroRangeRequest: "done",
  rereadPartitionsRequest: "done",
  syncRequest: "done",
  lockRequest: "done",
  freezeRequest: "done",
  thawRequest: "thawed",
  drainRequest: "done",
};

export interface AskOptions {
  /** False for a request that changes something: it is never sent twice. */
  repeatable?: boolean;
  /** Takes the frames before the last one as they come, instead of the answer collecting them. */
  onFrame?: (frame: Frame) => void;
}

interface Waiting {
  number: number;
  last: FrameName;
  frames: Frame[];
  onFrame: ((frame: Frame) => void) | undefined;
  damaged: boolean;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export class HelperProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #reader = new FrameReader();
  #waiting: Waiting | undefined;
  #nextNumber = 1;
  /** The request that is being answered; the next one waits for it. */
  #queue: Promise<unknown> = Promise.resolve();
  #failure: IbackupError | undefined;
  /** Called with frames nobody asked for: blocks that turned dirty, lost events. */
  onEvent: (frame: Frame) => void = () => undefined;

  constructor({ path, args = [], descriptor }: HelperOptions) {
    const stdio = ["pipe", "pipe", "inherit", ...(descriptor === undefined ? [] : [descriptor])];
    this.#child = spawn(path, args, {
      stdio: stdio as ["pipe", "pipe", "inherit"],
      env: {},
      detached: true,
    });
    this.#child.stdout?.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    this.#child.stdin?.on("error", (error) => this.#fail(messageOf(error)));
    this.#child.on("error", (error) => this.#fail(messageOf(error)));
    this.#exited = new Promise((resolve) => {
      this.#child.on("error", () => resolve());
      this.#child.on("close", (status, signal) => {
        this.#fail(`it ended with ${signal ?? `status ${status}`}`);
        resolve();
      });
    });
  }

  /**
   * Sends a request and waits for the whole answer.
   *
   * Where a frame of the answer is damaged it is asked again, once; requests that change
   * something (`repeatable: false`) are not: their answer comes back as damaged.
   *
   * @throws IbackupError for an `error` frame, or TRACKER when the helper ends.
   */
  async ask(request: Request, options: AskOptions = {}): Promise<Answer> {
    const answer = await this.#enqueue(request, options);
    if (!answer.damaged || options.repeatable === false) return answer;
    const again = await this.#enqueue(request, options);
    if (!again.damaged) return again;
    throw new IbackupError("TRACKER", `Cannot read the helper's answer to ${request.name}`, {
      why: "its frames arrived damaged twice",
      fix: "check this machine's memory; then run the command again",
    });
  }

  /** Asks, and gives the frame that ends the answer. */
  async askOne<N extends FrameName>(request: Request, name: N): Promise<FrameOf<N>> {
    const { frames } = await this.ask(request);
    const last = frames.at(-1);
    assert(last?.name === name, `${request.name} is answered by ${name}`);
    return last as unknown as FrameOf<N>;
  }

  /** Why it answers nothing any more. What it held, such as a lock, nobody holds then. */
  get failure(): IbackupError | undefined {
    return this.#failure;
  }

  /** Resolves when the helper has ended, for whatever reason. */
  get ended(): Promise<void> {
    return this.#exited;
  }

  /** Closes the pipe and waits until the helper has ended. */
  async close(): Promise<void> {
    this.#failure ??= closedError("it was closed");
    this.#child.stdin?.end();
    await this.#exited;
  }

  #enqueue(request: Request, options: AskOptions): Promise<Answer> {
    const answer = this.#queue.then(() => this.#send(request, options));
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  #send(request: Request, { onFrame }: AskOptions): Promise<Answer> {
    if (this.#failure) return Promise.reject(this.#failure);
    const number = this.#nextNumber++;
    return new Promise((resolve, reject) => {
      const last = LAST_FRAME[request.name];
      const state = { number, last, frames: [], onFrame, damaged: false };
      this.#waiting = { ...state, resolve, reject };
      this.#child.stdin?.write(encodeFrame({ ...request, request: number } as Frame));
    });
  }

  #receive(bytes: Uint8Array): void {
    for (const reading of this.#reader.push(bytes)) {
      if (reading.kind === "frame") this.#take(reading.frame);
      else this.#resynchronise();
    }
  }

  #take(frame: Frame): void {
    const waiting = this.#waiting;
    if (waiting === undefined || frame.request !== waiting.number) {
      if (frame.request === 0) this.onEvent(frame);
      return;
    }
    if (frame.name === "error") {
      this.#waiting = undefined;
      waiting.reject(helperError(frame));
      return;
    }
    const isLast = frame.name === waiting.last;
    if (isLast || waiting.onFrame === undefined) waiting.frames.push(frame);
    else waiting.onFrame(frame);
    if (!isLast) return;
    this.#waiting = undefined;
    waiting.resolve({ frames: waiting.frames, damaged: waiting.damaged });
  }

  /**
   * The last frame of the answer may be the one that was lost. The helper answers in order, so the
   * answer to a greeting sent now comes after all that is left of it.
   */
  #resynchronise(): void {
    const waiting = this.#waiting;
    if (waiting === undefined || waiting.damaged) return;
    waiting.damaged = true;
    waiting.number = this.#nextNumber++;
    waiting.last = "hello";
    const greeting = { name: "helloRequest", fields: {}, request: waiting.number } as const;
    this.#child.stdin?.write(encodeFrame(greeting));
  }

  #fail(why: string): void {
    this.#failure ??= closedError(why);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#failure);
  }
}

function closedError(why: string): IbackupError {
  return new IbackupError("TRACKER", "Cannot talk to the helper", {
    why,
    fix: "run `ibackup doctor`; `dmesg` tells when the kernel ended it",
  });
}
