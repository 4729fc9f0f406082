/** A flush, its helper or the watchdog is killed at random moments. */
import { stderr } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isLong, PART } from "../support/long.ts";
import { seededRandom } from "../support/random.ts";
import { canTrack } from "../support/site.ts";
import type { Role } from "../support/step_killer.ts";
import { KillSite } from "./kill_site.ts";

const KILLS = isLong ? Math.ceil(300 / PART.of) : 12;
/** From before the freeze until after it, more or less. */
const WATCHDOG_LIFE_MS = 150;
const VICTIMS: readonly Role[] = ["flush", "helper", "watchdog"];

describe.runIf(canTrack())("a flush under load", () => {
  let kills: KillSite;
  beforeEach(() => {
    kills = new KillSite();
    kills.takeBase();
    kills.startLoad();
  });
  afterEach(() => kills.close());

  test(`loses nothing when it or what it starts is killed at ${KILLS} random moments`, async () => {
    const random = seededRandom("random moments");
    const hits = new Map<string, number>();
    let { durationMs } = await kills.expectNextFlushRight();
    for (let count = 0; count < KILLS; ) {
      const victim = VICTIMS[count % VICTIMS.length] ?? "flush";
      const lifeMs = victim === "watchdog" ? WATCHDOG_LIFE_MS : durationMs + 100;
      const killed = await kills.flushKilledAfter(victim, random.below(Math.ceil(lifeMs)));
      if (killed !== undefined) {
        count += 1;
        const ending = `${victim}, status ${killed.status}`;
        hits.set(ending, 1 + (hits.get(ending) ?? 0));
        expect(killed.status, `${victim}: ${killed.stderr}`).not.toBe(1);
      }
      ({ durationMs } = await kills.expectNextFlushRight());
    }
    kills.expectSound();
    const said = [...hits].sort().map(([ending, times]) => `${times} ${ending}`);
    stderr.write(`${KILLS} kills: ${said.join("; ")}; ${kills.committed} backups committed\n`);
  }, 7_200_000);
});
