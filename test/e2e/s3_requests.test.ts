/** The program against a real S3 server, with one request gone wrong; see docs/STORES.md. */
import { once } from "node:events";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { CEPH_CREDENTIALS, type Ceph, startCeph } from "../support/ceph.ts";
import { type FaultProxy, PROXY_FAULTS, startFaultProxy } from "../support/fault_proxy.ts";
import { firstDifference, shell } from "../support/machine.ts";
import { startIbackup } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = 32 << 20;
/** A flush makes about so many requests. Which fault meets which of them differs from lap to lap. */
const REQUESTS = 16;
/** In the short form each fault meets one request: with this stride all of them come up. */
const STRIDE = env["IBACKUP_LONG"] === undefined ? REQUESTS + 2 : 1;

const ROUNDS = Array.from({ length: REQUESTS * PROXY_FAULTS.length }, (_, round) => {
  const lap = Math.floor(round / REQUESTS);
  const fault = PROXY_FAULTS[(round + 3 * lap) % PROXY_FAULTS.length] ?? "busy";
  return { fault, nth: (round % REQUESTS) + 1, isBase: round % 5 === 4 };
}).filter((_, round) => round % STRIDE === 0);

describe.runIf(canTrack())("a flush", () => {
  let ceph: Ceph;
  let proxy: FaultProxy;
  let site: Site;
  let source: string;
  let target: string;
  let direct: string;

  beforeAll(async () => {
    ceph = await startCeph();
    await ceph.createBucket("bucket", { versioned: true });
    proxy = await startFaultProxy(ceph.endpoint);
    site = new Site();
    Object.assign(site.extraEnvironment, CEPH_CREDENTIALS);
    direct = ceph.url("bucket/prefix");
    source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 20M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
    site.repo = direct;
    site.init();
    site.flush(source);
  });
  afterAll(async () => {
    site?.close();
    await proxy?.close();
    ceph?.stop();
  });

  /** Not waited for by blocking: the proxy lives in this process. */
  async function flushThroughProxy(...options: string[]): Promise<number | null> {
    site.repo = ceph.url("bucket/prefix", { endpoint: proxy.endpoint, timeout: "2s" });
    const child = startIbackup(site.machine, ["flush", source, ...options], site.options);
    child.stdout?.resume();
    child.stderr?.resume();
    const [status] = (await once(child, "close")) as [number | null];
    site.repo = direct;
    return status;
  }

  test.each(ROUNDS)(
    "whose request $nth is to $fault loses nothing (base: $isBase)",
    async (round) => {
      const { fault, nth, isBase } = round;
      scribble(nth);
      proxy.spoil(nth, fault);
      const status = await flushThroughProxy(...(isBase ? ["--base"] : []));
      const { spoilt = "nothing" } = proxy;
      proxy.spoil(0, fault);
      // Whatever happens to one request of a server that tells the truth, another attempt helps.
      if (fault !== "flip") expect({ status, spoilt }).toEqual({ status: 0, spoilt });
      expect(status).not.toBe(EXIT_STATUS.INTERNAL);
      scribble(nth + 5);
      const next = site.flush(source);
      expect(next).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
      await proxy.settle();
      site.restore("latest", target);
      expect(firstDifference(source, target)).toBe("");
    },
  );

  test("and afterwards every backup is whole", () => {
    expect(site.json("verify", "--data")).toMatchObject({ healthy: true });
  });

  function scribble(seek: number): void {
    shell(
      `head -c 300K /dev/urandom | dd of=${source} bs=4K seek=${seek * 97} oflag=direct iflag=fullblock status=none`,
    );
  }
});
