import { defineConfig } from "vitest/config";

/** Pure tests: no root, no loop devices, no BPF. Everything else shares the one kernel. */
const PURE = ["test/{core,frame,config,repo,store}/**/*.test.ts", "test/*.test.ts"];

const results = "dist/test_results.json";

export default defineConfig({
  test: {
    globalSetup: "test/leaks.ts",
    // With it, `import { z } from "zod"` is undefined under Bun.
    deps: { interopDefault: false },
    reporters: ["default", ["json", { outputFile: results }]],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: "pure",
          include: PURE,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "kernel",
          include: ["test/**/*.test.ts"],
          exclude: PURE,
          maxWorkers: 1,
          testTimeout: 600_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
