/**
 * A flush, its helper and the watchdog are killed right before each thing that they do to the world:
 * each file made, written, renamed or removed, each call of bpf(2), each ioctl, each process started.
 */
import { stderr } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isLong, PART } from "../support/long.ts";
import { seededRandom } from "../support/random.ts";
import { canTrack } from "../support/site.ts";
import type { Role } from "../support/step_killer.ts";
import { KillSite } from "./kill_site.ts";

/** In CI one in so many steps, others each time. */
const STRIDE = isLong ? PART.of : 16;
const STATUS_OF_KILLED = 137;

describe.runIf(canTrack())("a flush under load", () => {
  let kills: KillSite;
  beforeEach(() => {
    kills = new KillSite();
    kills.takeBase();
    kills.startLoad();
  });
  afterEach(() => kills.close());

  test.each<Role>(["flush", "helper", "watchdog"])(
    "loses nothing when the %s is killed at any of its steps",
    async (role) => {
      const whole = await kills.flushKilledAt({ role, step: 0 });
      expect(whole).toMatchObject({ status: 0 });
      expect(whole.steps.length).toBeGreaterThan(1);
      await kills.expectNextFlushRight();
      const endings = new Map<string, number>();
      const first = isLong
        ? PART.number
        : 1 + seededRandom(`steps of the ${role}`).below(Math.min(STRIDE, whole.steps.length));
      let [count, committed] = [0, 0];
      for (let step = first; step <= whole.steps.length; step += STRIDE) {
        const killed = await kills.flushKilledAt({ role, step });
        const place = `${step}: ${killed.steps[step - 1]}`;
        // How many steps there are is different each time.
        const wasKilled = killed.steps.length >= step;
        if (wasKilled && role === "flush") expect(killed.status).toBe(STATUS_OF_KILLED);
        // That somebody killed its helper is no bug of the flush.
        expect(killed.status, `killed at ${place}\n${killed.stderr}`).not.toBe(1);
        const before = kills.committed;
        await kills.expectNextFlushRight().catch((error: unknown) => {
          throw new Error(`after a kill at ${place}`, { cause: error });
        });
        if (!wasKilled) continue;
        const ending = `status ${killed.status}`;
        endings.set(ending, 1 + (endings.get(ending) ?? 0));
        count += 1;
        committed += kills.committed - before;
      }
      kills.expectSound();
      const said = [...endings].map(([ending, times]) => `${times} with ${ending}`).join(", ");
      stderr.write(
        `${role}: killed at ${count} of ${whole.steps.length} steps (${said}); ${committed} had committed\n`,
      );
    },
    7_200_000,
  );
});
