import { afterAll, beforeAll } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";
import { describeStoreContract } from "./contract.ts";

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph();
});
afterAll(() => ceph?.stop());

describeStoreContract("An S3 store on Ceph", async () => {
  await ceph.createBucket("contract");
  return await openStore(ceph.url("contract"));
});

describeStoreContract("An S3 store below a prefix", async () => {
  await ceph.createBucket("prefixed");
  return await openStore(ceph.url("prefixed/vm/one"));
});
