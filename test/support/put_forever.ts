/** Puts objects into a directory store until it is killed: `put_forever.ts FOLDER`. */
import { argv, stdout } from "node:process";
import { DirectoryStore } from "../../src/store/directory.ts";

const store = new DirectoryStore(argv[2] ?? "");
for (let index = 0; ; index++) {
  // Every byte is the same, so that a reader can tell a whole object from a torn one.
  const body = new Uint8Array(1_000_000).fill(index % 256);
  await Promise.all([
    store.put(`again/${index % 5}`, body),
    store.put(`folder-${index}/new`, body),
    store.putIfAbsent(`once/${index}`, body),
  ]);
  stdout.write(".");
}
