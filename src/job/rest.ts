/** The blocks of a disk that a flush has still to read, and the reading of them. */
import type { BlockSet } from "../core/block_set.ts";
import {
  learnSpeed,
  type ReadSpeed,
  type ReadWork,
  UNMEASURED_SPEED,
} from "../core/convergence.ts";
import type { BlockRun } from "../disk/disk_reader.ts";
import { assert } from "../errors.ts";
import type { FlushTask } from "./flush_task.ts";
import type { RestMemory } from "./rest_memory.ts";

/**
 * Every block that was read is taken out; a collect brings back what was written meanwhile. A block
 * is read after the collect that brought it in, so when a collect leaves nothing to read, what was
 * read is the disk as it was at that instant.
 */
export class Rest {
  readonly #flush: FlushTask;
  readonly #todo: BlockSet;
  /** Where the next reading into memory begins: so each part of the disk has its turn. */
  #cursor = 0;
  #speed = UNMEASURED_SPEED;
  #isNewest = false;

  constructor(flush: FlushTask, first: BlockSet) {
    this.#flush = flush;
    this.#todo = first;
  }

  get speed(): ReadSpeed {
    return this.#speed;
  }

  get isEmpty(): boolean {
    return this.#todo.isEmpty;
  }

  /** What is left was written since the collect before the newest; all older blocks were read. */
  get isNewest(): boolean {
    return this.#isNewest;
  }

  get blocks(): number {
    return this.#todo.count();
  }

  get bytes(): number {
    return this.blocks * this.#flush.disk.blockBytes;
  }

  get work(): ReadWork & { blocks: number } {
    return { runs: this.#todo.runCount(), blocks: this.blocks, bytes: this.bytes };
  }

  /** @returns How many blocks were written since the last collect. */
  async collect(): Promise<number> {
    const { ledger } = this.#flush;
    assert(ledger !== undefined, "the disk is tracked");
    this.#isNewest = this.isEmpty;
    const written = await ledger.collect();
    this.#todo.addAll(written);
    return written.count();
  }

  /** Reads everything and stores it as it comes. */
  async stream(): Promise<void> {
    const { reader, context, disk } = this.#flush;
    context.progress.begin(`reading ${disk.device.path}`, this.bytes);
    for await (const run of reader.read(this.#todo.extents(), context.signal)) {
      this.#todo.remove(run.firstBlock, run.blockCount);
      await storeRun(this.#flush, run);
      context.progress.advance(run.bytes.length);
    }
  }

  /**
   * Reads into memory until all is read, the memory is full, or the time is over.
   * @param untilMs By the clock that never goes back.
   */
  async intoMemory(memory: RestMemory, untilMs: number): Promise<void> {
    const { clock } = this.#flush.context;
    const startedMs = clock.monotonicMs();
    const work = { runs: 0, bytes: 0 };
    while (!this.isEmpty) {
      const from = this.#cursor;
      if (!(await this.#keepFrom(from, { memory, untilMs, work }))) break;
      this.#cursor = 0;
    }
    this.#speed = learnSpeed(this.#speed, work, clock.monotonicMs() - startedMs);
  }

  /** @returns False when it did not come to the end of the disk. */
  async #keepFrom(
    from: number,
    { memory, untilMs, work }: { memory: RestMemory; untilMs: number; work: ReadWork },
  ): Promise<boolean> {
    const { reader, context } = this.#flush;
    for await (const run of reader.read(this.#todo.extents(from), context.signal)) {
      const kept = memory.keep(run);
      work.runs += 1;
      work.bytes += run.bytes.length;
      if (kept > 0) this.#todo.remove(run.firstBlock, kept);
      this.#cursor = run.firstBlock + kept;
      context.progress.advance(run.bytes.length);
      if (kept < run.blockCount || context.clock.monotonicMs() >= untilMs) return this.isEmpty;
    }
    return true;
  }
}

/** Adds a run to the backup. */
export async function storeRun(
  { writer, digests }: FlushTask,
  { bytes, ...extent }: BlockRun,
): Promise<void> {
  await writer.add(extent, bytes);
  digests?.add(extent, bytes);
}
