/** What a command runs with: arguments before environment before config file before defaults. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import type { RetentionPolicy } from "../core/retention.ts";
import type { StoreSettings } from "../core/store_settings.ts";
import { parseByteRate } from "../core/units.ts";
import { IbackupError, systemCodeOf } from "../errors.ts";
import type { TriggerPolicy } from "../trigger/policy.ts";
import { DEFAULT_CONFIG_FILE } from "./default_file.ts";
import { loadConfig } from "./load.ts";
import { type Config, VM_ID_PATTERN, VM_ID_RULE } from "./schema.ts";

type FreezeConfig = NonNullable<Config["freeze"]>;
type HooksConfig = NonNullable<Config["hooks"]>;
type StoreConfig = NonNullable<Config["store"]>;
type PruneConfig = NonNullable<Config["prune"]>;
type NotifyConfig = NonNullable<Config["notify"]>;

/** As given on the command line. */
export interface GlobalOptions {
  repo?: string | undefined;
  config?: string | undefined;
  vm?: string | undefined;
  json?: boolean | undefined;
  identityFile?: string | undefined;
  passphraseFile?: string | undefined;
  uploadLimit?: string | undefined;
}

export interface Settings {
  /** URL of the repository, if any was named. */
  repo: string | undefined;
  /** The VM that was named on the command line: `list` shows only its backups. */
  vmGiven: string | undefined;
  /** The VM that new backups belong to. */
  vmId: string;
  /** Of the config file. */
  disks: readonly string[];
  /** Of the config file, as far as it says so; in milliseconds. */
  freeze: { limitMs?: number; budgetMs?: number; passesMax?: number };
  hooks: HookSettings;
  /** Where what opens sealed backups is. */
  secrets: {
    identityFile: string | undefined;
    passphraseFile: string | undefined;
    /** Of a dialogue, kept in memory only. */
    passphrase?: string | undefined;
    identities?: readonly string[] | undefined;
  };
  /** As given on the command line: for `init` and `key add` the passphrase of the new holder. */
  passphraseFileGiven: string | undefined;
  /** The config file that counts, when it is there. */
  configFile: string | undefined;
  /** Public key of the repository; of the config file. */
  pinnedRecipient: string | undefined;
  store: StoreSettings;
  /** Of the store that backups are copied to. */
  copyStore: StoreSettings;
  /** `--upload-limit` was given: what only this process obeys. */
  hasUploadLimitArgument: boolean;
  /** When a backup is due, if the config file says so. */
  trigger: TriggerPolicy | undefined;
  /** What the daemon does by the calendar: cron expressions, by the clock of the machine. */
  prune: { schedule: string; policy: RetentionPolicy; gc: boolean } | undefined;
  /** `data`: the share of all bytes that is read, above 0 and at most 1; undefined: none. */
  verify: { schedule: string; data: number | undefined } | undefined;
  notify: NotifySettings;
  json: boolean;
}

/** Whom the daemon tells. All of it may be secret. */
export interface NotifySettings {
  webhook?: string | undefined;
  command?: string | undefined;
  mail?: string | undefined;
  heartbeat?: string | undefined;
  timeLimitMs: number;
}

export interface HookSettings {
  commands: { "pre-freeze"?: string; frozen?: string; "post-thaw"?: string };
  timeLimitMs: number;
}

const HOOK_TIME_LIMIT_MS = 60_000;
const NOTIFY_TIME_LIMIT_MS = 10_000;

/** @throws IbackupError CONFIG or USAGE. */
export function resolveSettings(
  options: GlobalOptions,
  environment: Readonly<Record<string, string | undefined>>,
): Settings {
  const config = readConfig(options.config);
  if (options.vm !== undefined && !VM_ID_PATTERN.test(options.vm)) {
    throw new IbackupError("USAGE", `Cannot use "${options.vm}" as the id of a VM`, {
      why: `it ${VM_ID_RULE}`,
      fix: "choose another --vm",
    });
  }
  return {
    repo: options.repo ?? (environment["IBACKUP_REPO"] || config?.repo),
    vmGiven: options.vm,
    vmId: options.vm ?? config?.vm ?? machineId(),
    ...configured(config ?? {}),
    secrets: secretFiles(options, environment),
    passphraseFileGiven: options.passphraseFile,
    configFile: config && resolve(options.config ?? DEFAULT_CONFIG_FILE),
    store: storeSettings(config?.store ?? {}, options.uploadLimit),
    copyStore: storeSettings(config?.copy ?? {}, options.uploadLimit),
    hasUploadLimitArgument: options.uploadLimit !== undefined,
    json: options.json ?? false,
  };
}

/** What only the config file says. */
function configured({ disks = [], freeze = {}, hooks = {}, notify = {}, ...config }: Config) {
  const { encryption, trigger, prune, verify } = config;
  return {
    disks,
    freeze: freezeSettings(freeze),
    hooks: hookSettings(hooks),
    pinnedRecipient: encryption?.recipient,
    trigger,
    prune: prune && pruneSettings(prune),
    verify: verify && { schedule: verify.schedule, data: verify.data },
    notify: notifySettings(notify),
  };
}

/** What is given on the command line stands alone: another secret might open by accident. */
function secretFiles(
  { identityFile, passphraseFile }: GlobalOptions,
  environment: Readonly<Record<string, string | undefined>>,
): Settings["secrets"] {
  if (identityFile !== undefined || passphraseFile !== undefined) {
    return { identityFile, passphraseFile };
  }
  return {
    identityFile: environment["IBACKUP_IDENTITY_FILE"] || undefined,
    passphraseFile: environment["IBACKUP_PASSPHRASE_FILE"] || undefined,
  };
}

/** @param path As given; without it, the default file need not be there. */
function readConfig(path: string | undefined): Config | undefined {
  const config = loadConfig(path ?? DEFAULT_CONFIG_FILE);
  if (config !== undefined || path === undefined) return config;
  throw new IbackupError("CONFIG", `Cannot read the config file "${path}"`, {
    why: "there is no such file",
    fix: "name a file that exists, or leave --config out",
  });
}

function freezeSettings({ limit, budget, passes }: FreezeConfig): Settings["freeze"] {
  return {
    ...(limit !== undefined && { limitMs: limit }),
    ...(budget !== undefined && { budgetMs: budget }),
    ...(passes !== undefined && { passesMax: passes }),
  };
}

function hookSettings({ "time-limit": timeLimitMs, ...commands }: HooksConfig): HookSettings {
  const { "pre-freeze": preFreeze, frozen, "post-thaw": postThaw } = commands;
  return {
    commands: {
      ...(preFreeze !== undefined && { "pre-freeze": preFreeze }),
      ...(frozen !== undefined && { frozen }),
      ...(postThaw !== undefined && { "post-thaw": postThaw }),
    },
    timeLimitMs: timeLimitMs ?? HOOK_TIME_LIMIT_MS,
  };
}

function storeSettings(config: StoreConfig, uploadLimit: string | undefined): StoreSettings {
  const { "lock-mode": mode, retain, sse, tags } = config;
  return {
    storageClass: config["storage-class"],
    lock: mode !== undefined && retain !== undefined ? { mode, retainMs: retain } : undefined,
    encryption: sse && { kind: sse, keyId: config["sse-key"] },
    tags,
    uploadBytesPerSecond:
      uploadLimit === undefined ? config["upload-limit"] : parseByteRate(uploadLimit),
    parallelUploads: config["parallel-uploads"],
  };
}

function pruneSettings({ schedule, gc = true, ...keep }: PruneConfig): Settings["prune"] {
  const policy = {
    last: keep["keep-last"],
    hourly: keep["keep-hourly"],
    daily: keep["keep-daily"],
    weekly: keep["keep-weekly"],
    monthly: keep["keep-monthly"],
    yearly: keep["keep-yearly"],
    withinMs: keep["keep-within"],
    tags: keep["keep-tags"],
  };
  return { schedule, policy, gc };
}

function notifySettings({ "time-limit": timeLimitMs, ...ways }: NotifyConfig): NotifySettings {
  return { ...ways, timeLimitMs: timeLimitMs ?? NOTIFY_TIME_LIMIT_MS };
}

/** What systemd calls this machine, or else its host name. */
function machineId(): string {
  let id = "";
  try {
    id = readFileSync("/etc/machine-id", "utf8").trim();
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw error;
  }
  // An image that was not started yet holds "uninitialized".
  if (/^[0-9a-f]{32}$/.test(id)) return id;
  const name = hostname();
  if (VM_ID_PATTERN.test(name)) return name;
  throw new IbackupError("CONFIG", "Cannot tell which VM this is", {
    why: `/etc/machine-id has no id, and the host name "${name}" cannot be one`,
    fix: "name it: `--vm ID`, or `vm` in the config file",
  });
}
