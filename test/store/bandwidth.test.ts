import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Bandwidth } from "../../src/store/bandwidth.ts";
import type { RetryClock } from "../../src/store/retry_clock.ts";
import { Turnstile } from "../../src/store/turnstile.ts";
import { collect } from "../support/collect.ts";

/** Time goes on only when somebody waits for it, and then to the next who does. */
class WaitingClock implements RetryClock {
  nowMs = 0;
  readonly #waiting: { untilMs: number; wake: () => void }[] = [];
  readonly random = () => 0;
  readonly now = () => this.nowMs;

  async sleep(pauseMs: number): Promise<void> {
    await new Promise<void>((wake) => {
      this.#waiting.push({ untilMs: this.nowMs + pauseMs, wake });
    });
  }

  async runOut(): Promise<void> {
    for (await setImmediate(); this.#waiting.length > 0; await setImmediate()) {
      this.#waiting.sort((left, right) => left.untilMs - right.untilMs);
      const next = this.#waiting.shift();
      this.nowMs = Math.max(this.nowMs, next?.untilMs ?? 0);
      next?.wake();
    }
  }
}

describe("Bandwidth", () => {
  test("lets as many bytes pass in a time as it is told, for all together, unchanged", async () => {
    const clock = new WaitingClock();
    const bandwidth = new Bandwidth(1_000_000, clock);
    const bodies = Array.from({ length: 4 }, (_, at) => new Uint8Array(1_000_001).fill(at));
    const passing = Promise.all(bodies.map((body) => collect(bandwidth.pass(body))));
    await clock.runOut();
    const passed = await passing;
    // 50 ms may be used in advance, and the last piece need not be waited for.
    expect(clock.nowMs).toBeGreaterThan(3800);
    expect(clock.nowMs).toBeLessThanOrEqual(4001);
    for (const [at, pieces] of passed.entries()) {
      expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBe(1_000_001);
      expect(pieces.every((piece) => piece.every((byte) => byte === at))).toBe(true);
    }
  });

  test("saves up nothing while nobody uses it", async () => {
    const clock = new WaitingClock();
    const bandwidth = new Bandwidth(1_000_000, clock);
    clock.nowMs = 3_600_000;
    const passing = collect(bandwidth.pass(new Uint8Array(2_000_000)));
    await clock.runOut();
    await passing;
    expect(clock.nowMs - 3_600_000).toBeGreaterThan(1800);
  });
});

test("A turnstile lets so many through at a time, all in the end, and a failure too", async () => {
  const turnstile = new Turnstile(3);
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    inside += 1;
    most = Math.max(most, inside);
    await setImmediate();
    inside -= 1;
    if (most === 3) throw new Error("enough");
  };
  const settled = await Promise.allSettled(Array.from({ length: 20 }, () => turnstile.pass(work)));
  expect(settled).toHaveLength(20);
  expect(most).toBe(3);
  expect(inside).toBe(0);
});
