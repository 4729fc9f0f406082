/** How far a job has come, for those who ask. */
import type { ProgressDocument } from "../api/schemas.ts";
import type { Progress } from "../job/progress.ts";

const MESSAGES_MAX = 50;

export class JobProgress implements Progress {
  readonly #onChange: (message: string | undefined) => void;
  readonly messages: string[] = [];
  /** Undefined between two stretches of work. */
  current: ProgressDocument | undefined;

  /** @param onChange Called with a message, or for a step. */
  constructor(onChange: (message: string | undefined) => void) {
    this.#onChange = onChange;
  }

  begin(label: string, totalBytes: number): void {
    this.current = { label, doneBytes: 0, totalBytes };
    this.#onChange(undefined);
  }

  advance(bytes: number): void {
    if (this.current === undefined) return;
    this.current.doneBytes += bytes;
    this.#onChange(undefined);
  }

  message(text: string): void {
    this.messages.push(text);
    if (this.messages.length > MESSAGES_MAX) this.messages.shift();
    this.#onChange(text);
  }

  end(): void {
    this.current = undefined;
  }
}
