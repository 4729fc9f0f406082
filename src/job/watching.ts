/** A helper that stays: it listens to blocks turning dirty, and answers how things stand. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { BlockExtent } from "../core/extent.ts";
import { IbackupError } from "../errors.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import { readTrackingStatus } from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { type DiskView, viewDisks } from "./disk_view.ts";
import { auditedStatus } from "./self_audit.ts";

/** Memory pages of each CPU's event buffer. What finds no room is counted, and found by a look. */
const BUFFER_PAGES = 64;
/** The helper of a daemon that was killed may still be about to end. */
const LOCK_WAIT_MS = 2_000;

export class Watching {
  readonly #helper: HelperProcess;
  readonly #context: Pick<JobContext, "runtimeDir">;
  #session: string | undefined;
  #eventsLost = 0;
  #listenFailure: IbackupError | undefined;

  /** Called with blocks that have turned dirty. */
  onBlocks: (slot: number, extents: readonly BlockExtent[]) => void = () => undefined;

  private constructor(helper: HelperProcess, context: Pick<JobContext, "runtimeDir">) {
    this.#helper = helper;
    this.#context = context;
    helper.onEvent = (frame) => this.#take(frame);
  }

  /**
   * @throws IbackupError LOCKED while another process of this machine watches in this way; TRACKER.
   */
  static async open(
    context: Pick<JobContext, "helper" | "helperArgs" | "runtimeDir">,
  ): Promise<Watching> {
    const folder = join(context.runtimeDir(), "locks");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const helper = new HelperProcess({ path: await context.helper(), args: context.helperArgs });
    try {
      const fields = { shared: 0, waitMs: LOCK_WAIT_MS };
      await helper.ask({ name: "lockRequest", fields, tail: join(folder, "daemon") });
      return new Watching(helper, context);
    } catch (error) {
      await helper.close();
      throw error;
    }
  }

  get isListening(): boolean {
    return this.#session !== undefined;
  }

  /** Why it does not listen: somebody else does, or nothing is tracked. */
  get listenFailure(): IbackupError | undefined {
    return this.#listenFailure;
  }

  /** Since it was opened. */
  get eventsLost(): number {
    return this.#eventsLost;
  }

  /** Resolves when it answers nothing any more. */
  get ended(): Promise<void> {
    return this.#helper.ended;
  }

  /**
   * How the disks stand. Begins to listen where it does not.
   *
   * @param paths None: all that are tracked.
   * @returns Undefined when tracking was begun anew: another one has to be opened.
   * @throws IbackupError TRACKER when tracking is broken.
   */
  async look(paths: readonly string[]): Promise<DiskView[] | undefined> {
    const auditor = { runtimeFolder: this.#context.runtimeDir(), helper: this.#helper };
    if (this.#session === undefined) {
      const { session } = await readTrackingStatus(this.#helper);
      if (session !== undefined) await this.#listen(session.id);
    }
    // What was written before it listened, this finds.
    const status = await auditedStatus(auditor);
    if (this.#session !== undefined && this.#session !== status.session?.id) return undefined;
    return viewDisks(this.#context, status, paths);
  }

  async close(): Promise<void> {
    await this.#helper.close();
  }

  async #listen(session: string): Promise<void> {
    const fields = { pageCount: BUFFER_PAGES, reserved: 0 };
    try {
      await this.#helper.ask({ name: "listenRequest", fields }, { repeatable: false });
      this.#session = session;
      this.#listenFailure = undefined;
    } catch (error) {
      if (!(error instanceof IbackupError) || this.#helper.failure !== undefined) throw error;
      this.#listenFailure = error;
    }
  }

  #take(frame: Parameters<HelperProcess["onEvent"]>[0]): void {
    if (frame.name === "lost") this.#eventsLost = Math.max(this.#eventsLost, frame.fields.events);
    if (frame.name === "blocks") this.onBlocks(frame.fields.slot, frame.tail);
  }
}
