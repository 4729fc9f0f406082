/** Every setting, its value in text, and where that comes from. */
import { formatDuration } from "../core/units.ts";
import { DEFAULT_CONFIG_FILE } from "./default_file.ts";
import { readConfigText } from "./load.ts";
import { safeUrl } from "./safe_url.ts";
import type { GlobalOptions, Settings } from "./settings.ts";

export interface ShownSetting {
  /** As in the config file: "freeze.limit". */
  name: string;
  /** Null where nothing is set. Never a secret. */
  value: string | null;
  origin: "argument" | "environment" | "file" | "default";
}

/** Commands may hold passwords, and whoever knows such an address may use it. */
const HIDDEN = "(set, not shown)";
const HIDDEN_NAMES = new Set([
  ...["hooks.pre-freeze", "hooks.frozen", "hooks.post-thaw"],
  ...["notify.command", "notify.webhook", "notify.heartbeat"],
]);

/** What is given on the command line, or in the environment: where it stands in the file, and where else. */
const ELSEWHERE: readonly [name: string, option: keyof GlobalOptions, variable?: string][] = [
  ["repo", "repo", "IBACKUP_REPO"],
  ["vm", "vm"],
  ["store.upload-limit", "uploadLimit"],
  ["identity-file", "identityFile", "IBACKUP_IDENTITY_FILE"],
  ["passphrase-file", "passphraseFile", "IBACKUP_PASSPHRASE_FILE"],
];

/**
 * @param resolved `settings`: what was resolved from the same options and environment. `freeze`: the
 *   defaults of a flush.
 */
export function showSettings(
  options: GlobalOptions,
  environment: Readonly<Record<string, string | undefined>>,
  resolved: { settings: Settings; freeze: FreezeDefaults },
): ShownSetting[] {
  const shown = new Map<string, ShownSetting>();
  const show = (name: string, origin: ShownSetting["origin"], value: string | null): void => {
    const safe = HIDDEN_NAMES.has(name) ? HIDDEN : safeUrl(value ?? "");
    shown.set(name, { name, value: value && safe, origin });
  };
  for (const [name, value] of defaultsOf(resolved)) show(name, "default", value);
  for (const [name, value] of leavesOf(readConfigText(options.config ?? DEFAULT_CONFIG_FILE))) {
    show(name, "file", value);
  }
  const isSecretGiven = options.identityFile !== undefined || options.passphraseFile !== undefined;
  for (const [name, option, variable] of ELSEWHERE) {
    const inEnvironment = variable && environment[variable];
    const given = options[option];
    if (typeof given === "string") show(name, "argument", given);
    else if (inEnvironment && !(isSecretGiven && name.endsWith("-file"))) {
      show(name, "environment", inEnvironment);
    }
  }
  return [...shown.values()];
}

interface FreezeDefaults {
  limitMs: number;
  budgetMs: number;
  passesMax: number;
}

function defaultsOf({
  settings,
  freeze,
}: {
  settings: Settings;
  freeze: FreezeDefaults;
}): [string, string | null][] {
  return [
    ["repo", null],
    ["vm", settings.vmId],
    ["disks", null],
    ["identity-file", null],
    ["passphrase-file", null],
    ["freeze.limit", formatDuration(freeze.limitMs)],
    ["freeze.budget", formatDuration(freeze.budgetMs)],
    ["freeze.passes", String(freeze.passesMax)],
    ["hooks.pre-freeze", null],
    ["hooks.frozen", null],
    ["hooks.post-thaw", null],
    ["hooks.time-limit", formatDuration(settings.hooks.timeLimitMs)],
    ["encryption.recipient", null],
    ["store.upload-limit", null],
    ["prune.schedule", null],
    ["verify.schedule", null],
    ["notify.webhook", null],
    ["notify.command", null],
    ["notify.mail", null],
    ["notify.heartbeat", null],
    ["notify.time-limit", formatDuration(settings.notify.timeLimitMs)],
  ];
}

/** Tables are opened; lists, with all that is in them, are one value. */
function leavesOf(table: Readonly<Record<string, unknown>>, prefix = ""): [string, string][] {
  return Object.entries(table).flatMap(([key, value]): [string, string][] => {
    const name = `${prefix}${key}`;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return leavesOf(value as Record<string, unknown>, `${name}.`);
    }
    return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}
