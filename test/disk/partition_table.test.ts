import { describe, expect, test } from "vitest";
import { partitionTableIdOf } from "../../src/disk/partition_table.ts";

function mbr(signature: number, entries: { status: number; type: number; sectors: number }[]) {
  const head = new Uint8Array(65_536);
  const view = new DataView(head.buffer);
  view.setUint32(440, signature, true);
  entries.forEach(({ status, type, sectors }, i) => {
    view.setUint8(446 + 16 * i, status);
    view.setUint8(446 + 16 * i + 4, type);
    view.setUint32(446 + 16 * i + 12, sectors, true);
  });
  head.set([0x55, 0xaa], 510);
  return head;
}

describe("partitionTableIdOf()", () => {
  test("gives the signature of an MBR that has partitions", () => {
    expect(partitionTableIdOf(mbr(0x1234abcd, [{ status: 0x80, type: 0x83, sectors: 10 }]))).toBe(
      "1234abcd",
    );
  });

  test("gives nothing for an empty table, for no table, and for a disk shorter than one", () => {
    expect(partitionTableIdOf(mbr(0x1234abcd, []))).toBeUndefined();
    expect(partitionTableIdOf(new Uint8Array(65_536))).toBeUndefined();
    expect(partitionTableIdOf(new Uint8Array(100))).toBeUndefined();
  });

  test("does not take the boot sector of a FAT file system for a table", () => {
    const code = { status: 0x0e, type: 0xbe, sectors: 0x7c00 };
    expect(partitionTableIdOf(mbr(0x746e6520, [code, code]))).toBeUndefined();
  });

  test("gives the disk GUID of a GPT, in its usual notation", () => {
    const head = mbr(0, [{ status: 0, type: 0xee, sectors: 100 }]);
    head.set(new TextEncoder().encode("EFI PART"), 512);
    head.set(
      Array.from({ length: 16 }, (_, i) => i + 1),
      512 + 56,
    );
    expect(partitionTableIdOf(head)).toBe("04030201-0605-0807-090a-0b0c0d0e0f10");
  });
});
