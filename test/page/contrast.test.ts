/** The colours of the page: whatever is text can be read, on light and dark ground. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const STYLE = readFileSync(join(import.meta.dirname, "../../src/page/style/base.css"), "utf8");
const COLOURS = new Map(
  [...STYLE.matchAll(/--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)].map(
    ([, name = "", light = "", dark = ""]) => [name, { light, dark }],
  ),
);

/** Text and its ground. */
const PAIRS = [
  ...["card", "ground", "tint", "danger-tint"].map((ground) => ["ink", ground]),
  ...["card", "ground"].map((ground) => ["muted", ground]),
  ...["card", "tint"].map((ground) => ["accent", ground]),
  ["danger", "danger-tint"],
  ["on-accent", "accent"],
  ["on-danger", "danger"],
] as [string, string][];

/** As WCAG 2.2 defines it. */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

describe.each(["light", "dark"] as const)("on %s ground", (scheme) => {
  test.each(PAIRS)("%s on %s has a contrast of 4.5:1", (text, ground) => {
    const [own, other] = [COLOURS.get(text), COLOURS.get(ground)];
    expect(contrast(own?.[scheme] ?? "", other?.[scheme] ?? "")).toBeGreaterThanOrEqual(4.5);
  });

  test("edges of what can be used have 3:1", () => {
    const [edge, card] = [COLOURS.get("edge"), COLOURS.get("card")];
    expect(contrast(edge?.[scheme] ?? "", card?.[scheme] ?? "")).toBeGreaterThanOrEqual(3);
  });
});
