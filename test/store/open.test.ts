import { describe, expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { parseS3Url } from "../../src/store/s3_url.ts";

describe("openStore()", () => {
  test("takes file: and s3: URLs, and names the place without its parameters", async () => {
    const url = async (text: string) => (await openStore(text)).url;
    expect(await url("file:///srv/my%20backup/")).toBe("file:///srv/my%20backup");
    expect(await url("file://localhost/srv/b")).toBe("file:///srv/b");
    expect(await url("s3://bucket?endpoint=http://h:1")).toBe("s3://bucket");
    expect(await url("s3://bucket/a/b/?endpoint=http://h:1")).toBe("s3://bucket/a/b");
  });

  test.each([
    ["/srv/backup", "file:///srv/backup"],
    ["srv/backup", "file:///srv/backup"],
    ["", "file:///srv/backup"],
    ["https://host/bucket", "s3://bucket/prefix"],
    ["file://srv/backup", "file:///srv/backup"],
    ["file:///", "file:///srv/backup"],
    ["file:///a?b", "%3F"],
    ["file:///a%2fb", "file:///srv/backup"],
    ["s3://", "s3://bucket/prefix"],
    ["s3:bucket", "s3://bucket/prefix"],
    ["s3://bucket:9000/a", "s3://bucket/prefix"],
    ["s3://bucket/a/.b", "s3://bucket/prefix"],
    ["s3://bucket/a%2F..%2Fb", "s3://bucket/prefix"],
    ["s3://bucket#a", "s3://bucket/prefix"],
    ["s3://bucket?endpoint=host:9000", "s3://bucket/prefix"],
    ["s3://bucket?endpoint=http://h?a=b", "s3://bucket/prefix"],
    ["s3://bucket?path-style=yes", "s3://bucket/prefix"],
    ["s3://bucket?timeout=0s", "s3://bucket/prefix"],
    ["s3://bucket?timeout=30", "s3://bucket/prefix"],
    ["s3://bucket?attempts=0", "s3://bucket/prefix"],
    ["s3://bucket?region=a&region=b", "s3://bucket/prefix"],
    ["s3://bucket?region=a/b", "s3://bucket/prefix"],
  ])("refuses %j, and gives an example", async (url, example) => {
    await expect(openStore(url)).rejects.toMatchObject({
      code: "USAGE",
      fix: expect.stringContaining(example),
    });
  });

  test.each([
    "s3://AKIAEXAMPLE:hunter2@bucket/prefix",
    "s3://hunter2@bucket",
    "s3://bucket?endpoint=https://user:hunter2@host",
    "s3://bucket?secret-access-key=hunter2",
    "https://user:hunter2@host",
  ])("refuses a credential in the URL, and does not repeat it: %s", async (url) => {
    const error = await openStore(url).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "USAGE" });
    const { message, why, fix } = error as { message: string; why: string; fix: string };
    expect([message, why, fix].join()).not.toContain("hunter2");
  });
});

describe("parseS3Url()", () => {
  test("reads every parameter", () => {
    const url =
      "s3://b-1.x/p/q?endpoint=https://h:1/base/&region=R-1&path-style=false&timeout=2m&attempts=3";
    expect(parseS3Url(new URL(url))).toEqual({
      bucket: "b-1.x",
      prefix: "p/q/",
      endpoint: "https://h:1/base",
      region: "R-1",
      pathStyle: false,
      timeoutMs: 120_000,
      attempts: 3,
    });
  });

  test("puts the bucket into the path on servers other than AWS", () => {
    const pathStyle = (url: string) => parseS3Url(new URL(url)).pathStyle;
    expect(pathStyle("s3://bucket")).toBe(false);
    expect(pathStyle("s3://bucket?endpoint=https://s3.eu-west-1.amazonaws.com")).toBe(false);
    expect(pathStyle("s3://bucket?endpoint=https://s3.example.org")).toBe(true);
    expect(pathStyle("s3://bucket?endpoint=https://amazonaws.com.example.org")).toBe(true);
  });

  test("takes the endpoint from the environment that the SDK would take it from", () => {
    const environment = { AWS_ENDPOINT_URL: "http://env:1" };
    expect(parseS3Url(new URL("s3://bucket"), environment).endpoint).toBe("http://env:1");
    const url = new URL("s3://bucket?endpoint=http://url:1");
    expect(parseS3Url(url, environment).endpoint).toBe("http://url:1");
  });
});
