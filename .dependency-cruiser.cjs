/**
 * The direction of imports: what each folder of src/ may import besides itself and errors.ts.
 * ARCHITECTURE.md draws the same table; test/tidy.test.ts holds the two together.
 */
const MAY_IMPORT = {
  core: [],
  frame: ["core"],
  runtime: ["core"],
  store: ["core"],
  keys: ["store", "core"],
  repo: ["store", "core", "runtime"],
  tracker: ["frame", "core", "runtime"],
  disk: ["core", "runtime"],
  digests: ["core", "runtime"],
  trigger: ["core"],
  config: ["trigger", "core"],
  job: [
    "repo",
    "keys",
    "store",
    "tracker",
    "disk",
    "digests",
    "config",
    "trigger",
    "core",
    "runtime",
  ],
  api: ["config", "core", "runtime"],
  page: ["api", "core"],
  daemon: ["api", "job", "config", "trigger", "core", "runtime"],
  ui: ["api", "runtime"],
  cli: ["ui", "daemon", "api", "job", "config", "core"],
};

const arrows = Object.entries(MAY_IMPORT).map(([folder, others]) => ({
  name: `${folder}-may-import`,
  comment: others.join(", ") || "nothing",
  severity: "error",
  from: { path: `^src/${folder}/` },
  to: { path: "^src/", pathNot: `^src/(errors\\.ts$|(${[folder, ...others].join("|")})/)` },
}));

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    ...arrows,
    {
      name: "errors-imports-nothing",
      severity: "error",
      from: { path: "^src/errors\\.ts$" },
      to: { path: "." },
    },
    {
      name: "core-is-pure",
      comment: "No node: module and no package but zod: core has no side effects.",
      severity: "error",
      from: { path: "^src/core/" },
      to: { pathNot: ["^src/", "(^|node_modules/)zod(/|$)"] },
    },
    {
      name: "page-knows-the-shapes-of-the-api",
      comment: "Types only: the page runs in a browser, and takes no server with it.",
      severity: "error",
      from: { path: "^src/page/" },
      to: { path: "^src/api/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "only-s3-knows-aws",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/store/s3[^/]*\\.ts$" },
      to: { path: "(^|node_modules/)@(aws-sdk|smithy)/" },
    },
    {
      name: "nothing-imports-main",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^src/main\\.ts$" },
    },
    {
      name: "src-is-not-the-build",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^(scripts|test)/" },
    },
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    {
      name: "no-orphans",
      comment: "A file nobody imports and that imports nobody is dead; a browser loads the page.",
      severity: "error",
      from: { orphan: true, path: "^src/", pathNot: "^src/(errors\\.ts$|page/)" },
      to: {},
    },
    {
      name: "resolvable",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "no-development-packages-in-the-product",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
    },
  },
};
