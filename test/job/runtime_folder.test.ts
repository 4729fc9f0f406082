import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ErrorCode, IbackupError } from "../../src/errors.ts";
import { isTmpfs, openRuntimeFolder } from "../../src/job/runtime_folder.ts";

let parent: string;
let folder: string;

beforeEach(() => {
  parent = mkdtempSync("/dev/shm/ibackup-test-");
  folder = join(parent, "run");
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

function refusal(path: string): { code: ErrorCode; why: string } {
  try {
    openRuntimeFolder(path);
  } catch (error) {
    if (error instanceof IbackupError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("openRuntimeFolder()", () => {
  test("makes a folder that only root can enter, and takes it again", () => {
    expect(openRuntimeFolder(folder)).toBe(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(openRuntimeFolder(folder)).toBe(folder);
  });

  test("has a place of its own on a tmpfs", () => {
    const chosen = openRuntimeFolder(undefined);
    expect(chosen).toMatch(/^\/(run|dev\/shm)\/ibackup$/);
    expect(isTmpfs(chosen)).toBe(true);
  });

  test("refuses what another user could have made, or could change", () => {
    mkdirSync(folder, { mode: 0o700 });
    chownSync(folder, 65534, 65534);
    expect(refusal(folder).why).toBe("it belongs to user 65534, not to root");

    chownSync(folder, 0, 0);
    for (const mode of [0o710, 0o701, 0o777, 0o755]) {
      chmodSync(folder, mode);
      expect(refusal(folder)).toMatchObject({
        code: "NOT_PERMITTED",
        why: expect.stringContaining("others may enter"),
      });
    }
  });

  test("refuses a link to a folder that would be fine, and a file", () => {
    openRuntimeFolder(folder);
    const link = join(parent, "link");
    symlinkSync(folder, link);
    expect(refusal(link).why).toBe("it is a symbolic link");
    const file = join(parent, "file");
    writeFileSync(file, "", { mode: 0o600 });
    expect(refusal(file).why).toBe("it is not a folder");
  });

  test("refuses a relative path, which would depend on where ibackup is started", () => {
    expect(refusal("run").code).toBe("USAGE");
  });
});
