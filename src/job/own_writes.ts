/** What a flush itself writes: none of it may wait for a file system that the flush has frozen. */
import type { FlushTask } from "./flush_task.ts";

export class OwnWrites {
  readonly #flush: Pick<FlushTask, "writer" | "lease" | "digests">;
  #isStopped = false;

  constructor(flush: Pick<FlushTask, "writer" | "lease" | "digests">) {
    this.#flush = flush;
  }

  /** When it resolves, nothing is written before `goOn`. */
  async stop(): Promise<void> {
    const { writer, lease, digests } = this.#flush;
    this.#isStopped = true;
    digests?.hold();
    await writer.quiesce();
    await lease.pause();
  }

  goOn(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    const { writer, lease, digests } = this.#flush;
    writer.resume();
    lease.resume();
    digests?.release();
  }
}
