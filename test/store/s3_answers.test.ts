import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RetryClock } from "../../src/store/retry_clock.ts";
import { openS3Store } from "../../src/store/s3.ts";
import type { Store } from "../../src/store/store.ts";
import {
  type Answer,
  dropped,
  type FakeS3,
  failure,
  hang,
  startFakeS3,
  stuck,
  success,
  truncated,
} from "../support/fake_s3.ts";
import { bytesOf, listed } from "./contract.ts";

const ABC = new TextEncoder().encode("abc");
/** HEAD cannot say which thing is missing, so a GET follows it. */
const ABSENT = [failure(404, "NoSuchKey"), failure(404, "NoSuchKey")];
const EXISTS = failure(412, "PreconditionFailed");
const NO_VERSIONS = success("<VersioningConfiguration/>");
/** Before the first conditional put: nothing is there, no versions, and conditions are honoured. */
const ASKED = [...ABSENT, NO_VERSIONS, EXISTS];

let fake: FakeS3;
beforeEach(async () => {
  fake = await startFakeS3();
});
afterEach(async () => {
  await fake.close();
});

/** Time stands still, and pauses take none. */
const clock: RetryClock = { now: () => 0, sleep: async () => {}, random: () => 0 };

function storeWith(answers: Answer[], parameters: Record<string, string> = {}): Store {
  fake.script.push(...answers);
  return openS3Store(fake.url({ attempts: "3", ...parameters }), {}, clock);
}

function methods(): string[] {
  return fake.seen.map(({ method }) => method);
}

describe("The S3 store puts", () => {
  test("with length, MD5 and whole body, and without newer checksums", async () => {
    await storeWith([success()]).put("a/b", ABC);
    const [seen] = fake.seen;
    expect(seen?.path).toBe("/bucket/a/b?x-id=PutObject");
    expect(seen?.body).toEqual(ABC);
    expect(seen?.headers["content-length"]).toBe("3");
    expect(seen?.headers["content-md5"]).toBe(createHash("md5").update(ABC).digest("base64"));
    const names = Object.keys(seen?.headers ?? {});
    expect(names.filter((name) => /checksum|trailer|^if-|expect/.test(name))).toEqual([]);
  });

  test.each([
    ["a proxy's page", 502, "<html>Bad Gateway</html>"],
    ["a busy server", 503, "<Error><Code>SlowDown</Code></Error>"],
    ["an empty answer", 500, ""],
  ])("again after %s", async (_name, status, body) => {
    const trouble: Answer = (response) => {
      response.writeHead(status).end(body);
    };
    await storeWith([trouble, dropped, success()]).put("a", ABC);
    expect(methods()).toEqual(["PUT", "PUT", "PUT"]);
  });

  test("no more often than it may", async () => {
    const busy = failure(503, "SlowDown");
    await expect(storeWith([busy, busy, busy, busy]).put("a", ABC)).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
      why: "the server answers 503 SlowDown: so it is",
    });
    expect(methods()).toHaveLength(3);
  });

  test.each([
    [403, "QuotaExceeded", "STORE_FULL"],
    [507, "XMinioStorageFull", "STORE_FULL"],
    [403, "AccessDenied", "STORE_DENIED"],
    [403, "UserSuspended", "STORE_DENIED"],
    [301, "PermanentRedirect", "STORE_DENIED"],
    [400, "AuthorizationHeaderMalformed", "STORE_DENIED"],
    [400, "EntityTooLarge", "IO"],
    [501, "NotImplemented", "IO"],
  ])("once when the answer is %i %s, and says %s", async (status, code, expected) => {
    const store = storeWith([failure(status, code)]);
    await expect(store.put("a", ABC)).rejects.toMatchObject({ code: expected });
    expect(methods()).toHaveLength(1);
  });

  test("until the caller gives up", async () => {
    const controller = new AbortController();
    const enough = new Error("enough");
    const store = storeWith([() => controller.abort(enough)]);
    await expect(store.put("a", ABC, { signal: controller.signal })).rejects.toBe(enough);
    expect(methods()).toHaveLength(1);
  });
});

describe("The S3 store puts if absent", () => {
  test("on the condition that there is nothing", async () => {
    expect(await storeWith([...ASKED, success()]).putIfAbsent("a", ABC)).toBe(true);
    expect(fake.seen[4]?.headers["if-none-match"]).toBe("*");
  });

  test("and loses to a writer who was there in between", async () => {
    expect(await storeWith([...ASKED, EXISTS]).putIfAbsent("a", ABC)).toBe(false);
  });

  test("again when another conditional write is under way", async () => {
    const conflict = failure(409, "ConditionalRequestConflict");
    expect(await storeWith([...ASKED, conflict, success()]).putIfAbsent("a", ABC)).toBe(true);
    const store = storeWith([...ASKED, conflict, EXISTS]);
    expect(await store.putIfAbsent("a", ABC)).toBe(false);
  });

  test("and knows its own object when the answer to an earlier attempt was lost", async () => {
    const range = { "content-range": "bytes 0-2/3" };
    const store = storeWith([...ASKED, dropped, EXISTS, success("abc", range)]);
    expect(await store.putIfAbsent("a", ABC)).toBe(true);
  });

  test("and knows another's object when an earlier attempt of its own was lost", async () => {
    const range = { "content-range": "bytes 0-2/3" };
    const store = storeWith([...ASKED, dropped, EXISTS, success("xyz", range)]);
    expect(await store.putIfAbsent("a", ABC)).toBe(false);
  });

  test("not at all where the object exists and the server would ignore the condition", async () => {
    expect(await storeWith([success("xyz")]).putIfAbsent("a", ABC)).toBe(false);
    expect(methods()).toEqual(["HEAD"]);
  });
});

describe("The S3 store probes", () => {
  const NO_LOCK = failure(404, "ObjectLockConfigurationNotFoundError");

  /** Answers of a server that keeps what is put, and meets the condition with `answer`. */
  function probing(answer: Answer): Answer[] {
    const read: Answer = (response, seen) => success(fake.seen[0]?.body)(response, seen);
    return [success(), read, answer, NO_VERSIONS, NO_LOCK, success(), success()];
  }

  test.each([
    ["honoured", EXISTS],
    ["ignored", success()],
    ["unsupported", failure(501, "NotImplemented")],
  ])("that a condition is %s", async (conditionalPut, answer) => {
    expect(await storeWith(probing(answer)).probe()).toEqual({
      readable: true,
      writable: true,
      conditionalPut,
      fence: conditionalPut === "honoured" ? "condition" : "claims",
      versioning: false,
      objectLock: false,
      problems: [],
    });
  });

  test("a server that gives back something else", async () => {
    const answers = [success(), success("wrong"), EXISTS, NO_VERSIONS, NO_LOCK, success()];
    const probe = await storeWith(answers).probe();
    expect(probe).toMatchObject({ readable: false, writable: true });
    expect(probe.problems).toHaveLength(1);
  });

  test("a server that refuses, without throwing", async () => {
    const denied = failure(403, "AccessDenied");
    const probe = await storeWith([denied, denied]).probe();
    expect(probe).toMatchObject({ readable: false, writable: false });
    expect(probe.problems[0]).toContain("AccessDenied");
  });
});

describe("The S3 store reads", () => {
  test("again when the body breaks off", async () => {
    expect(await bytesOf(storeWith([truncated("ab", 3), success("abc")]), "a")).toEqual([...ABC]);
  });

  test("nothing rather than a part when the body always breaks off", async () => {
    const part = truncated("ab", 3);
    await expect(bytesOf(storeWith([part, part, part]), "a")).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
    });
  });

  test("only so long as the time limit lets it", async () => {
    const store = storeWith([hang, stuck(3), success("abc")], { timeout: "300ms" });
    const read = await store.getRange("a", { offset: 0, length: 3 });
    expect(read).toEqual(ABC);
    expect(methods()).toHaveLength(3);
  });

  test("and says so when a server never answers", async () => {
    const store = storeWith([hang, hang, hang], { timeout: "30ms" });
    await expect(store.head("a")).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
      why: "no answer within 30 ms",
    });
  });

  test.each([
    ["another range", success("bcd", { "content-range": "bytes 1-3/9" })],
    ["a shorter range", success("ab", { "content-range": "bytes 0-1/9" })],
    ["a range of other length than it says", success("ab", { "content-range": "bytes 0-2/9" })],
    ["the whole object instead of a range", success("abcdefghi")],
  ])("and refuses %s", async (_name, answer) => {
    const store = storeWith([answer, answer, answer]);
    await expect(store.getRange("a", { offset: 0, length: 3 })).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
    });
  });

  test("the whole object where it is no longer than the range", async () => {
    const store = storeWith([success("abc")]);
    expect(await store.getRange("a", { offset: 0, length: 9 })).toEqual(ABC);
  });

  test("and tells a missing bucket from a missing object", async () => {
    const store = storeWith([failure(404, "NoSuchBucket"), failure(404, "NoSuchBucket")]);
    await expect(store.head("a")).rejects.toMatchObject({ code: "STORE_DENIED" });
  });
});

describe("The S3 store lists", () => {
  function page(keys: string[], token?: string): Answer {
    const facts = "<Size>1</Size><LastModified>2026-11-22T12:00:00.000Z</LastModified>";
    const contents = keys.map((key) => `<Contents><Key>${key}</Key>${facts}</Contents>`);
    const more =
      token === undefined ? "" : `<NextContinuationToken>${token}</NextContinuationToken>`;
    const truncation = `<IsTruncated>${token !== undefined}</IsTruncated>${more}`;
    return success(`<ListBucketResult>${truncation}${contents.join("")}</ListBucketResult>`);
  }

  test("page after page, each with its own attempts", async () => {
    const busy = failure(503, "SlowDown");
    const store = storeWith([NO_VERSIONS, page(["a"], "next"), busy, busy, page(["b", "c"])]);
    expect((await listed(store, "")).map(({ key }) => key)).toEqual(["a", "b", "c"]);
    expect(fake.seen.at(-1)?.path).toContain("continuation-token=next");
  });

  test("and leaves out what is no key of ibackup", async () => {
    const store = storeWith([NO_VERSIONS, page([".hidden", "a", "folder/", "z z"])]);
    expect((await listed(store, "")).map(({ key }) => key)).toEqual(["a"]);
  });

  test("and refuses a server that lists out of order, or what was not asked", async () => {
    await expect(listed(storeWith([NO_VERSIONS, page(["b", "a"])]), "")).rejects.toMatchObject({
      code: "IO",
    });
    const stranger = page(["other"]);
    const store = storeWith([NO_VERSIONS, stranger, stranger, stranger]);
    await expect(listed(store, "packs/")).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
  });
});

test("An error of the S3 store holds no credential and no signature", async () => {
  const error = await storeWith([failure(403, "SignatureDoesNotMatch")])
    .put("a", ABC)
    .catch((reason: unknown) => reason);
  const everything = inspect(error, { depth: 20, showHidden: true, getters: true });
  expect(everything).toContain("SignatureDoesNotMatch");
  const signature = /Signature=(\w+)/.exec(fake.seen[0]?.headers.authorization ?? "")?.[1];
  expect(signature).toMatch(/^\w{64}$/);
  expect(everything).not.toContain(signature);
  expect(everything).not.toMatch(/SecretKey|Credential=|AWS4-HMAC/);
});
