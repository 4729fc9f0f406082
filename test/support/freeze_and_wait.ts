/** Freezes the file systems of a disk, says so on standard output, and waits to be killed. */
import { argv, stdout } from "node:process";
import { describeDevice } from "../../src/disk/block_device.ts";
import { freezeTargets } from "../../src/disk/mounts.ts";
import { freeze } from "../../src/tracker/freezer.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";

const [disk = "", limitMs = ""] = argv.slice(2);
const helper = new HelperProcess({
  path: new URL("../../helper/.output/ibackup-helper", import.meta.url).pathname,
});
await freeze(helper, freezeTargets(describeDevice(disk)), Number(limitMs));
stdout.write("frozen\n");
await helper.ended;
