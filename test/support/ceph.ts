import { execFile, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { env, pid } from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  CreateBucketCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListObjectVersionsCommand,
  type ObjectLockRetentionMode,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
  S3Client,
} from "@aws-sdk/client-s3";

const SCRIPT = fileURLToPath(new URL("../../scripts/ceph", import.meta.url));
const execute = promisify(execFile);
const ACCESS_KEY = "CEPHTESTACCESSKEY001";
const SECRET_KEY = "cephTestSecretKey00000000000000000000001";

/** A Ceph of its own for one test file. Also stopped when the test run is killed. */
export interface Ceph {
  /** `http://127.0.0.1:PORT`. */
  endpoint: string;
  /** `s3://bucket/prefix?endpoint=...`, for `--repo`. */
  url(bucket: string, parameters?: Record<string, string>): string;
  createBucket(name: string, options?: BucketOptions): Promise<void>;
  /** From now on. */
  keepVersions(bucket: string): Promise<void>;
  /** From now on, for a day, what is put into a bucket with object lock. */
  retainByDefault(bucket: string, mode: ObjectLockRetentionMode): Promise<void>;
  /** Keys of all versions of all objects, delete markers included. */
  versions(bucket: string): Promise<string[]>;
  head(bucket: string, key: string): Promise<HeadObjectCommandOutput>;
  tags(bucket: string, key: string): Promise<Record<string, string>>;
  setPolicy(bucket: string, policy: string): Promise<void>;
  /** Somebody else than the owner of the buckets, who may do nothing yet. */
  addUser(...nameParts: string[]): { user: string; environment: Record<string, string> };
  /** Starts the gateway anew. */
  addStorageClass(name: string): Promise<void>;
  /** `radosgw-admin`; throws when it fails. */
  admin(...words: string[]): string;
  /** SIGKILL. */
  killGateway(): Promise<void>;
  /** SIGKILL to all of it, and a new start with what its disk kept. */
  killAndRestart(): Promise<void>;
  startGateway(gatewayArguments?: string): Promise<void>;
  stop(): void;
}

export interface BucketOptions {
  versioned?: boolean;
  /** With object lock, which keeps versions. No retention unless a put asks for one. */
  locked?: boolean;
}

/** What the SDK's usual chain finds in the environment of a process that may use this Ceph. */
export const CEPH_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: ACCESS_KEY,
  AWS_SECRET_ACCESS_KEY: SECRET_KEY,
};

/**
 * Starts a throw-away cluster on free ports, in memory, in about a second, and sets the
 * credentials in the environment of this process. The caller stops it in `afterAll`.
 *
 * @param options `onDisk`: bluestore in a folder there, as in production.
 */
export async function startCeph(options: { onDisk?: string } = {}): Promise<Ceph> {
  const { settings, run, stop } = await startOnFreePorts(options.onDisk);
  Object.assign(env, CEPH_CREDENTIALS);
  const endpoint = `http://127.0.0.1:${settings.PORT}`;
  const killGateway = async (): Promise<void> => {
    // Not waited for in the event loop: the puts of a test go on meanwhile.
    await execute(SCRIPT, ["kill-gateway"], { env: { ...env, ...settings } });
  };
  const startGateway = async (gatewayArguments = ""): Promise<void> => {
    const RGW_ARGS = gatewayArguments;
    await execute(SCRIPT, ["start-gateway"], { env: { ...env, ...settings, RGW_ARGS } });
  };
  return {
    endpoint,
    url: (bucket, parameters = {}) =>
      `s3://${bucket}?${new URLSearchParams({ endpoint, ...parameters })}`,
    ...bucketTools(endpoint),
    admin: (...words) => run("admin", ...words),
    addUser: (...nameParts) => {
      const user = nameParts.join("-");
      const [accessKey, secretKey] = [`KEYOF${user.toUpperCase()}`, `secretOf${user}0000000000`];
      const names = [`--uid=${user}`, `--display-name=${user}`];
      run(
        "admin",
        "user",
        "create",
        ...names,
        `--access-key=${accessKey}`,
        `--secret-key=${secretKey}`,
      );
      const environment = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey };
      return { user, environment };
    },
    addStorageClass: async (name) => {
      const placement = ["--placement-id", "default-placement", "--storage-class", name];
      run("admin", "zonegroup", "placement", "add", "--rgw-zonegroup", "default", ...placement);
      const pool = ["--data-pool", `default.rgw.${name.toLowerCase()}.data`];
      run("admin", "zone", "placement", "add", "--rgw-zone", "default", ...placement, ...pool);
      await killGateway();
      await startGateway();
    },
    killGateway,
    killAndRestart: async () => {
      await execute(SCRIPT, ["kill"], { env: { ...env, ...settings } });
      await execute(SCRIPT, ["start"], { env: { ...env, ...settings, OWNER: "" } });
    },
    startGateway,
    stop,
  };
}

/** What ibackup itself never does: make buckets, and look at old versions. */
function bucketTools(
  endpoint: string,
): Pick<
  Ceph,
  "createBucket" | "keepVersions" | "retainByDefault" | "versions" | "head" | "tags" | "setPolicy"
> {
  const credentials = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
  const client = new S3Client({
    endpoint,
    credentials,
    region: "us-east-1",
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
  return {
    async createBucket(name, options = {}) {
      const { versioned = false, locked = false } = options;
      const lock = { ObjectLockEnabledForBucket: locked };
      await client.send(new CreateBucketCommand({ Bucket: name, ...lock }));
      if (versioned) await this.keepVersions(name);
    },
    async keepVersions(bucket) {
      const VersioningConfiguration = { Status: "Enabled" as const };
      const command = { Bucket: bucket, VersioningConfiguration };
      await client.send(new PutBucketVersioningCommand(command));
    },
    async retainByDefault(bucket, mode) {
      const Rule = { DefaultRetention: { Mode: mode, Days: 1 } };
      const ObjectLockConfiguration = { ObjectLockEnabled: "Enabled" as const, Rule };
      const command = { Bucket: bucket, ObjectLockConfiguration };
      await client.send(new PutObjectLockConfigurationCommand(command));
    },
    head: (bucket, key) => client.send(new HeadObjectCommand({ Bucket: bucket, Key: key })),
    async tags(bucket, key) {
      const answer = await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: key }));
      return Object.fromEntries((answer.TagSet ?? []).map(({ Key, Value }) => [Key, Value]));
    },
    async setPolicy(bucket, policy) {
      await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: policy }));
    },
    async versions(bucket) {
      const page = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }));
      return [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])].map(({ Key }) => Key ?? "");
    },
  };
}

function runScript(words: string[], settings: Record<string, string>): string {
  const result = spawnSync(SCRIPT, words, {
    env: { ...env, ...settings },
    encoding: "utf8",
    timeout: 120_000,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(`scripts/ceph ${words.join(" ")} failed: ${result.stderr}`, {
    cause: result.error,
  });
}

/** Another process may take a port between our look and the start: then others are tried. */
async function startOnFreePorts(onDisk: string | undefined, attempt = 1) {
  const folder = mkdtempSync(join(onDisk ?? "/dev/shm", "ibackup-ceph-"));
  const settings = {
    D: join(folder, "cluster"),
    PORT: String(await freePort()),
    MON: String(await freePort()),
    AK: ACCESS_KEY,
    SK: SECRET_KEY,
    OWNER: String(pid),
    STORE: onDisk === undefined ? "memstore" : "bluestore",
  };
  const run = (...words: string[]) => runScript(words, settings);
  const stop = () => {
    run("stop");
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    run("start");
    return { settings, run, stop };
  } catch (error) {
    stop();
    if (attempt === 3) throw error;
    return await startOnFreePorts(onDisk, attempt + 1);
  }
}

/** Below the range from which the kernel takes ports for outgoing connections. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
