import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { DirectoryStore } from "../../src/store/directory.ts";
import { describeStoreContract } from "./contract.ts";

const home = mkdtempSync(join(tmpdir(), "ibackup-directory-"));
afterAll(() => rmSync(home, { recursive: true }));

describeStoreContract("A directory store", async () => new DirectoryStore(join(home, "contract")));
