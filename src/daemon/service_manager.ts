/** What systemd is told: that the daemon is ready, alive, reloading, ending. */
import type { NotifySocket } from "../runtime/notify_socket.ts";

export class ServiceManager {
  readonly #socket: NotifySocket | undefined;
  /** Between two signs of life; infinity: none is wanted. */
  readonly #beatMs: number;
  #beatenAtMs: number | undefined;

  /**
   * @param socket Undefined: there is no service manager.
   * @param watchdogUs As systemd says it: it wants a sign of life at least so often.
   */
  constructor(socket: NotifySocket | undefined, watchdogUs: string | undefined) {
    this.#socket = socket;
    const wantedUs = socket === undefined ? 0 : Number(watchdogUs);
    this.#beatMs = wantedUs > 0 ? wantedUs / 3000 : Number.POSITIVE_INFINITY;
  }

  ready(): void {
    this.#socket?.send("READY=1");
  }

  reloading(): void {
    const socket = this.#socket;
    socket?.send(`RELOADING=1\nMONOTONIC_USEC=${socket.monotonicUs()}`);
  }

  stopping(): void {
    this.#socket?.send("STOPPING=1");
  }

  /**
   * Gives a sign of life when it is time.
   *
   * @param monotonicMs Now.
   * @returns In how many milliseconds the next one is due.
   */
  beat(monotonicMs: number): number {
    if (!Number.isFinite(this.#beatMs)) return this.#beatMs;
    const leftMs = (this.#beatenAtMs ?? Number.NEGATIVE_INFINITY) + this.#beatMs - monotonicMs;
    if (leftMs > 0) return leftMs;
    this.#socket?.send("WATCHDOG=1");
    this.#beatenAtMs = monotonicMs;
    return this.#beatMs;
  }
}
