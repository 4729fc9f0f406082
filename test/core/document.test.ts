import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DocumentKind, decodeDocument, encodeDocument } from "../../src/core/document.ts";
import {
  decodeManifest,
  encodeManifest,
  keyOfManifest,
  type Manifest,
} from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { exampleManifest } from "../support/backups.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const KIND: DocumentKind = { name: "manifest", version: 3 };
const encode = (text: string) => new TextEncoder().encode(text);

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof IbackupError) return error.code;
    throw error;
  }
  return "no error";
}

const decode = (bytes: Uint8Array) =>
  decodeDocument(KIND, { object: "manifests/x", bytes }, sha256);

describe("decodeDocument()", () => {
  test("gives back any JSON value that was encoded", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json: unknown = JSON.parse(JSON.stringify(value));
        expect(decode(encodeDocument(KIND, value, sha256))).toEqual(json);
      }),
    );
  });

  test("refuses a document cut at any byte", () => {
    const bytes = encodeDocument(KIND, { a: [1, "zwei"] }, sha256);
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(codeOf(() => decode(bytes.subarray(0, cut)))).toBe("CORRUPT_DATA");
    }
  });

  test("refuses a document with any bit flipped", () => {
    const bytes = encodeDocument(KIND, { a: [1, "zwei"] }, sha256);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = flipped[bit >> 3]! ^ (1 << (bit & 7));
      const code = codeOf(() => decode(flipped));
      // The version is not under the digest: a flip can only make it another version.
      expect(["CORRUPT_DATA", "REPOSITORY_FORMAT", "no error"]).toContain(code);
      if (code === "no error") expect(decode(flipped)).toEqual({ a: [1, "zwei"] });
    }
  });

  test("tells a newer format from damage and from a file of something else", () => {
    const newer = encodeDocument({ name: "manifest", version: 4 }, {}, sha256);
    expect(codeOf(() => decode(newer))).toBe("REPOSITORY_FORMAT");
    const other = encodeDocument({ name: "repository", version: 3 }, {}, sha256);
    expect(() => decode(other)).toThrow(IbackupError);
    expect(codeOf(() => decode(encode("#!/bin/sh\nexit\n")))).toBe("CORRUPT_DATA");
    expect(codeOf(() => decode(encode(`${"x".repeat(1000)}\n`)))).toBe("CORRUPT_DATA");
    expect(codeOf(() => decode(new Uint8Array(1 << 20)))).toBe("CORRUPT_DATA");
  });
});

describe("decodeManifest()", () => {
  const manifest = exampleManifest(5, {
    blockCount: 1000,
    details: {
      partitionTableSha256: null,
      gapReason: "test",
      tracking: {
        bootId: "b",
        session: "s",
        epoch: 4,
        hooks: ["block"],
        lostEvents: 0,
        taints: [{ reason: "passthrough", count: 2 }],
      },
      fileSystems: [],
    },
    indexes: [
      { name: "ab".repeat(32), sizeBytes: 9, firstBlock: 0, blockCount: 1000, frameCount: 3 },
    ],
  });
  const OF_ITSELF = {
    type: "incremental",
    parentId: exampleManifest(4).backupId,
    parentSha256: "0".repeat(64),
    gapCheck: "trusted",
  };
  const OTHER_DISK = { ...manifest.disk, name: "vdb" };
  const object = keyOfManifest(manifest, sha256);

  test("gives back what was encoded", () => {
    const bytes = encodeManifest(manifest, sha256);
    expect(decodeManifest({ object, bytes }, sha256)).toEqual(manifest);
  });

  const index = manifest.indexes[0]!;
  const wrong: [string, Record<string, unknown>][] = [
    ["an unknown field", { surprise: 1 }],
    ["a base with a parent", { parentId: exampleManifest(4).backupId }],
    ["an incremental without one", { type: "incremental" }],
    ["a base with the place of a parent", { parentSequence: 2 }],
    ["an incremental that does not come after its parent", { ...OF_ITSELF, parentSequence: 5 }],
    ["a sequence of eleven digits", { sequence: 10_000_000_000 }],
    ["blocks that do not cover the disk", { blockCount: 999 }],
    ["blocks of an odd size", { blockBytes: 5000 }],
    ["an index beyond the disk", { indexes: [{ ...index, firstBlock: 1 }] }],
    ["an index name with a path in it", { indexes: [{ ...index, name: "../../etc/passwd" }] }],
    ["a time without milliseconds", { capturedAt: "2026-11-22T00:00:00Z" }],
    ["a negative count", { bytesRead: -1 }],
    ["a fraction of a block", { blocksChanged: 1.5 }],
    ["sealed details without a key", { details: "AAAA" }],
    ["clear details with a key", { seal: { salt: "AAAA", wrappedKey: "AAAA" } }],
    ["a signature of nobody", { signature: "AAAA" }],
    ["a consistency that nobody knows", { consistency: "perfect" }],
  ];

  test.each(wrong)("refuses %s, and it is never stored either", (_, fields) => {
    const bad = { ...manifest, ...fields };
    const bytes = encodeDocument({ name: "manifest", version: 1 }, bad, sha256);
    expect(codeOf(() => decodeManifest({ object, bytes }, sha256))).toBe("CORRUPT_DATA");
    expect(() => encodeManifest(bad as Manifest, sha256)).toThrow();
  });

  test("refuses the manifest of another backup", () => {
    const bytes = encodeManifest(manifest, sha256);
    for (const fields of [{ sequence: 6 }, { vmId: "vm-2" }, { disk: OTHER_DISK }]) {
      const stored = { object: keyOfManifest({ ...manifest, ...fields }, sha256), bytes };
      expect(codeOf(() => decodeManifest(stored, sha256))).toBe("CORRUPT_DATA");
    }
  });
});
