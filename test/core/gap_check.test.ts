import { describe, expect, test } from "vitest";
import { checkGap, type GapFacts } from "../../src/core/gap_check.ts";

const tracking = {
  bootId: "boot",
  session: "session",
  diskSequence: 7,
  taints: { skipped: 0 },
  seesEveryWrite: true,
};
const parent = { backupId: "parent", sizeBytes: 4096, blockBytes: 4096, identityMatches: true };
const pending = { ...tracking, parentId: "parent", sizeBytes: 4096, bridged: false };
const SEEN: GapFacts = {
  parent,
  sizeBytes: 4096,
  blockBytes: 4096,
  tracking,
  pending,
  asked: { base: false, scan: false },
};

describe("checkGap()", () => {
  test("trusts the bitmap when every fact says that all writes were seen", () => {
    expect(checkGap(SEEN).verdict).toBe("trusted");
  });

  test("says when tracking was stopped meanwhile, and the kernel counted no write", () => {
    const { verdict, reason } = checkGap({ ...SEEN, pending: { ...pending, bridged: true } });
    expect(verdict).toBe("trusted");
    expect(reason).toContain("counted none while tracking was stopped");
  });

  test("takes a base when there is no parent, or one is asked for", () => {
    expect(checkGap({ ...SEEN, parent: undefined }).verdict).toBe("base");
    expect(checkGap({ ...SEEN, asked: { base: true, scan: false } }).verdict).toBe("base");
    expect(checkGap({ ...SEEN, blockBytes: 8192 }).verdict).toBe("base");
  });

  // Each of these, alone, must be enough to compare.
  const doubts: Record<string, Partial<GapFacts>> = {
    "a scan was asked for": { asked: { base: false, scan: true } },
    "another disk has taken this name": {
      parent: { ...parent, identityMatches: false },
    },
    resized: { parent: { ...parent, sizeBytes: 8192 } },
    "the disk was resized": { pending: { ...pending, sizeBytes: 8192 } },
    "not tracked": { tracking: undefined },
    "a pin is missing": { tracking: undefined, brokenTracking: "a pin is missing" },
    "did not see": { pending: undefined },
    "machine was started anew": { tracking: { ...tracking, bootId: "other" } },
    "tracking was started anew": { tracking: { ...tracking, session: "other" } },
    "does not see every write": { tracking: { ...tracking, seesEveryWrite: false } },
    "another medium": { tracking: { ...tracking, diskSequence: 8 } },
    "not the one this machine made last": {
      pending: { ...pending, parentId: "older" },
    },
    "tainted: skipped (3)": { tracking: { ...tracking, taints: { skipped: 3 } } },
    "tainted: new kind (1)": { tracking: { ...tracking, taints: { skipped: 0, "new kind": 1 } } },
  };
  for (const [reason, change] of Object.entries(doubts)) {
    test(`compares the whole disk when: ${reason}`, () => {
      const verdict = checkGap({ ...SEEN, ...change });
      expect(verdict.verdict).toBe("compared");
      expect(verdict.reason).toContain(reason);
    });
  }
});
