/** What a put says of its object besides the bytes: checksums and rules. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { PutObjectCommand, PutObjectCommandInput } from "@aws-sdk/client-s3";
import type { ObjectRules } from "../core/store_settings.ts";
import { isAws, type S3Location } from "./s3_url.ts";

type Headers = Record<string, string>;

/** @param sha256 In hexadecimal. Only AWS is sure to know more than MD5. */
export function checksumOf(
  { endpoint }: S3Location,
  body: Uint8Array,
  sha256: string,
): Partial<PutObjectCommandInput> {
  if (isAws(endpoint)) return { ChecksumSHA256: base64OfHex(sha256) };
  return { ContentMD5: createHash("md5").update(body).digest("base64") };
}

/** Signs what was hashed when the bytes were made, so that the server refuses what has changed since. */
export function signPayload(command: PutObjectCommand, sha256: string): void {
  command.middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Headers }).headers["x-amz-content-sha256"] = sha256;
      return next(args);
    },
    { step: "build", name: "ibackupSha256" },
  );
}

export function rulesOf(rules: ObjectRules): Partial<PutObjectCommandInput> {
  const { storageClass, lock, encryption, tags } = rules;
  const input: Partial<PutObjectCommandInput> = {};
  if (storageClass !== undefined) {
    input.StorageClass = storageClass as NonNullable<PutObjectCommandInput["StorageClass"]>;
  }
  if (lock) {
    input.ObjectLockMode = lockModeOf(lock);
    input.ObjectLockRetainUntilDate = lock.until;
  }
  if (encryption) {
    input.ServerSideEncryption = encryption.kind;
    if (encryption.keyId !== undefined) input.SSEKMSKeyId = encryption.keyId;
  }
  if (tags) input.Tagging = Object.entries(tags).map(taggingOf).join("&");
  return input;
}

/** Not as forms encode it: some servers take a plus sign for one. */
function taggingOf([name, value]: [string, string]): string {
  return `${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
}

export function lockModeOf({
  mode,
}: NonNullable<ObjectRules["lock"]>): "GOVERNANCE" | "COMPLIANCE" {
  return mode === "governance" ? "GOVERNANCE" : "COMPLIANCE";
}

function base64OfHex(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}
