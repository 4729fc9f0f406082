import { defineConfig } from "vitest/config";
import { isLong } from "./test/support/long.ts";

/** Two at a time: no loop devices, BPF or servers, or in a guest's kernel. */
const PARALLEL = [
  "test/guest/**/*.test.ts",
  "test/{core,digests,frame,config,repo,page,trigger}/**/*.test.ts",
  "test/store/!(s3)*.test.ts",
  "test/*.test.ts",
];

/** Has no short form: every day it is not there, rather than skipped. */
const LONG_ONLY = ["test/guest/install.test.ts"];

/** Two at a time as well: each has its own disks, pins and servers. The rest load or freeze the kernel. */
const SIDE_BY_SIDE = [
  "test/{api,cli,daemon,job,runtime,ui}/**/*.test.ts",
  "test/store/s3*.test.ts",
  "test/e2e/s3*.test.ts",
];

const shared = {
  // Without it, `import { z } from "zod"` is undefined under Bun.
  deps: { interopDefault: false },
  testTimeout: 600_000,
  hookTimeout: 120_000,
};

export default defineConfig({
  test: {
    globalSetup: "test/leaks.ts",
    reporters: ["default", ["json", { outputFile: "dist/test_results.json" }]],
    teardownTimeout: 60_000,
    projects: [
      {
        test: {
          ...shared,
          name: "parallel",
          include: PARALLEL,
          exclude: isLong ? [] : LONG_ONLY,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...shared,
          name: "side by side",
          include: SIDE_BY_SIDE,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          name: "serial",
          include: ["test/**/*.test.ts"],
          exclude: [...PARALLEL, ...SIDE_BY_SIDE],
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
