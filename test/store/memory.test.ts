import { MemoryStore } from "../support/memory_store.ts";
import { describeStoreContract } from "./contract.ts";

describeStoreContract("The memory store of the tests", async () => new MemoryStore());
