import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { StatusDocument } from "../../src/api/schemas.ts";
import { METRICS, metricsText } from "../../src/daemon/metrics.ts";
import { diskDocument, statusDocument } from "./documents.ts";

describe("metricsText()", () => {
  test("has the metrics that docs/METRICS.md lists, with their types, and no others", () => {
    const document = readFileSync(join(import.meta.dirname, "../../docs/METRICS.md"), "utf8");
    const listed = [...document.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, ...it]) => it);
    expect(listed).toEqual(METRICS.map(({ name, type }) => [name, type]));
  });

  test("is what Prometheus reads, and leaves out what is not known", () => {
    const odd = diskDocument({ device: '/dev/a"\\\n', changedBlocks: 3, blockBytes: 4096 });
    const text = metricsText(statusDocument({ disks: [odd] }));
    expect(text).toContain('ibackup_disk_changed_bytes{device="/dev/a\\"\\\\\\n"} 12288\n');
    expect(text).not.toContain("ibackup_disk_newest_backup_timestamp_seconds{");
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{.*\})? -?[\d.]+(e[+-]?\d+)?)$/);
    }
  });

  test("counts alarms by kind", () => {
    const alarm = {
      ...{ device: null, since: "2026-11-22T00:00:00.000Z" },
      failure: { code: "IO", exitStatus: 21, what: "a", why: "b", fix: "c" },
    };
    const alarms: StatusDocument["alarms"] = [
      { kind: "disk", ...alarm, device: "/dev/a" },
      { kind: "disk", ...alarm, device: "/dev/b" },
      { kind: "store", ...alarm },
    ];
    const text = metricsText(statusDocument({ alarms }));
    expect(text).toContain('ibackup_alarms{kind="disk"} 2\nibackup_alarms{kind="store"} 1\n');
  });
});
