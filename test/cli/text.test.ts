import { describe, expect, test } from "vitest";
import { blockRanges, printable, properties, table } from "../../src/cli/text.ts";

describe("table()", () => {
  test("aligns columns, numbers to the right, and leaves no spaces at the ends", () => {
    const rows = [
      ["NAME", "SIZE", "NOTE"],
      ["a", "1 B", ""],
      ["long name", "20 GiB", "x"],
    ];
    expect(table(rows, new Set([1]))).toBe(
      "NAME         SIZE  NOTE\na             1 B\nlong name  20 GiB  x",
    );
  });

  test("keeps a cell on its line, whatever it is called", () => {
    expect(table([["a\nb\tc", "d"]])).toBe("a?b?c  d");
  });

  test("is empty for no rows", () => expect(table([])).toBe(""));
});

describe("properties()", () => {
  test("puts values below each other", () => {
    const pairs = [
      ["id", "7"],
      ["much longer", "x"],
    ] as const;
    expect(properties(pairs)).toBe("id:           7\nmuch longer:  x");
  });
});

describe("printable()", () => {
  test("lets nothing through that moves the cursor or changes colours", () => {
    expect(printable("a\u001b[31mred\u0007\r\u009bx\u007f")).toBe("a?[31mred???x?");
    expect(printable("a\u202eb\u2028c\u200bd")).toBe("a?b?c?d");
    expect(printable("tab\tnew\nline é 漢")).toBe("tab\tnew\nline é 漢");
  });
});

describe("blockRanges()", () => {
  test("names the first and the last block, and counts what is too much to say", () => {
    const extents = Array.from({ length: 10 }, (_, index) => ({
      firstBlock: index * 100,
      blockCount: index + 1,
    }));
    expect(blockRanges(extents.slice(0, 2))).toBe("0, 100 to 101");
    expect(blockRanges(extents)).toMatch(/^0, 100 to 101, .*700 to 707 and 2 more ranges$/);
  });
});
