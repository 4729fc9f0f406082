import { BlockSet } from "../core/block_set.ts";
import type { Damage } from "../repo/block_reader.ts";

interface Note {
  damage: Damage;
  blocks: BlockSet;
}

/**
 * Gathers damage that is told piece by piece, and more than once: a missing pack comes up for each
 * of its frames, and both when a restore is planned and when it is done.
 */
export class DamageNotes {
  readonly #blockCount: number;
  readonly #notes = new Map<string, Note>();

  /** @param blockCount No block that is told of lies past it. */
  constructor(blockCount: number) {
    this.#blockCount = blockCount;
  }

  take(damage: Damage): void {
    const key = `${damage.object} ${damage.reason}`;
    const note = this.#notes.get(key) ?? { damage, blocks: new BlockSet(this.#blockCount) };
    for (const { firstBlock, blockCount } of damage.extents)
      note.blocks.add(firstBlock, blockCount);
    this.#notes.set(key, note);
  }

  /** One for each object and reason, with every block that it takes away, once. */
  list(): Damage[] {
    return [...this.#notes.values()].map(({ damage, blocks }) => ({
      ...damage,
      extents: [...blocks.extents()],
    }));
  }
}
