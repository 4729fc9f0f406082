/**
 * `ibackup install` in a Debian with systemd: after a reboot tracking is on before anything writes to
 * the data disk, the hardened units can do their work, and `uninstall` leaves nothing.
 *
 * The kernel counts every write of the disk since the boot. When the hooks have seen as many, none
 * came before them.
 */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { Machine, run } from "../support/machine.ts";
import { PROGRAM } from "../support/program.ts";
import type { TrackingReport } from "../support/site.ts";

const MiB = 1 << 20;
const DATA = "/dev/disk/by-id/virtio-guest-b";

/** Runs what the guest is to do, when all else is up. */
const GUEST_UNIT = `[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=SYSTEMD_COLORS=0
ExecStart=/bin/sh /run/main
[Install]
WantedBy=graphical.target
`;

/** A service with data on the disk: it writes as soon as it may. */
const WRITER_UNIT = `[Unit]
RequiresMountsFor=/data
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/dd if=/dev/urandom of=/data/first bs=64k count=4 conv=fsync
`;

const CONFIG = `repo = "file:///srv/backup"
vm = "guest"
disks = ["${DATA}"]
[trigger]
every = "1h"
`;

const FUNCTIONS = `
shown() { systemctl show --value -p "$1" "$2"; }
# Microseconds since the boot, as JSON, at which tracking was on and the writer began.
moments() {
  tracked=$(shown ActiveEnterTimestampMonotonic ibackup-track.service)
  wrote=$(shown ExecMainStartTimestampMonotonic writer.service)
  mounted=$(shown ActiveEnterTimestampMonotonic data.mount)
  echo "{\\"tracked\\": $tracked, \\"mounted\\": $mounted, \\"wrote\\": $wrote}"
}
# Sectors, written and discarded, that the kernel has seen end on the data disk since the boot.
counted() { awk '{ print $7 + $14 }' /sys/block/vdb/stat; }
# The tracking, and what the kernel counted, at a moment at which nothing was written meanwhile.
at_rest() {
  until [ "\${before:-}" = "$(counted)" ]; do
    before=$(counted)
    ibackup track status --json >/run/status.json
  done
}
lines() { printf '['; separator=; while read -r line; do printf '%s"%s"' "$separator" "$line"; separator=,; done; echo ']'; }
# All files, also those of the root that the mounted /var hides.
everything() {
  mount --bind / /mnt
  { find /mnt /var /sys/fs/bpf /run/ibackup /dev/shm -xdev 2>/dev/null || true; } |
    grep -vE '^/mnt/srv/|^/var/log/|/var/lib/systemd|/var/tmp|^/mnt/tmp/|^/var/lib/private' | sort
  umount /mnt
}
`;

const FIRST_BOOT = `${FUNCTIONS}
everything >/srv/before
ibackup init --no-encryption >&2
ibackup install --timer
result again ibackup install --timer --json
result active sh -c 'systemctl is-active ibackup-track.service ibackup-flush.timer | tr "\\n" " " | sed "s/.*/\\"&\\"/"'
systemctl start ibackup-flush.service
result list ibackup list --json
ibackup install
systemctl start ibackup.service
{ systemd-analyze verify --man=no /etc/systemd/system/ibackup*.service 2>&1 || true; } | { grep ibackup || true; } >/run/faults
result faults lines </run/faults
result inTimersPlace sh -c 'ls /etc/systemd/system | grep -c "^ibackup-flush" || true'
`;

const SECOND_BOOT = `${FUNCTIONS}
sync /data
at_rest
result status cat /run/status.json
result counted echo "$before"
result times moments
systemctl start ibackup.service
systemctl reload ibackup.service
for property in ActiveState NotifyAccess WatchdogUSec NRestarts; do shown $property ibackup.service; done >/run/daemon
result daemon lines </run/daemon
result bridged ibackup flush --json
dd if=/dev/urandom of=/data/second bs=64k count=4 conv=fsync 2>/dev/null
result trusted ibackup flush --json
umount /data
result last ibackup flush --consistency quiet --json
ibackup restore latest --target /srv/restored.img
result same sh -c 'cmp /dev/vdb /srv/restored.img && echo true'
result failed sh -c 'systemctl list-units --failed --plain --no-legend | grep -c ibackup || true'
for unit in ibackup-track ibackup; do
  systemd-analyze security --no-pager $unit.service | tail -n1
done | tr -cd '[:print:]\\n' >/run/security
result security lines </run/security
ibackup uninstall --purge
everything >/run/after
{ comm -3 /srv/before /run/after || true; } | tr -d '\\t' >/run/differences
result left lines </run/differences
result units sh -c 'systemctl list-units --all --plain --no-legend "ibackup*" | wc -l'
result processes sh -c 'cat /proc/[0-9]*/comm 2>/dev/null | grep -c ^ibackup || true'
`;

interface Results {
  get(name: string): unknown;
}

describe("`ibackup install` in a guest with systemd", () => {
  const machine = new Machine();
  const root = machine.path("debian.img");
  let data: string;
  let variable: string;
  let first: Results;
  let second: Results;

  beforeAll(() => {
    data = guestDisk(machine, "data", 64 * MiB);
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", data);
    makeRoot();
    first = boot(FIRST_BOOT);
    second = boot(SECOND_BOOT);
  }, 1_200_000);
  afterAll(() => machine.close());

  function makeRoot(): void {
    const debian = run(join(import.meta.dirname, "../../scripts/guest_debian")).trim();
    run("mkfs.ext4", "-q", "-d", debian, root, "1G");
    variable = guestDisk(machine, "var", 256 * MiB);
    run("mkfs.ext4", "-q", "-d", join(debian, "var"), variable);
    const folder = machine.mount(machine.attach(root));
    const write = (path: string, text: string) => writeFileSync(join(folder, path), text);
    copyFileSync(PROGRAM, join(folder, "usr/local/bin/ibackup"));
    mkdirSync(join(folder, "data"));
    mkdirSync(join(folder, "etc/ibackup"));
    write("etc/ibackup/config.toml", CONFIG);
    write(
      "etc/fstab",
      "/dev/vda / ext4 defaults 0 1\n/dev/vdb /data ext4 defaults 0 2\n/dev/vdc /var ext4 defaults 0 2\n",
    );
    const wanted = { guest: "graphical.target", writer: "multi-user.target" };
    for (const [name, target] of Object.entries(wanted)) {
      const unit = `etc/systemd/system/${name}.service`;
      write(unit, name === "guest" ? GUEST_UNIT : WRITER_UNIT);
      mkdirSync(join(folder, `etc/systemd/system/${target}.wants`), { recursive: true });
      symlinkSync(`/${unit}`, join(folder, `etc/systemd/system/${target}.wants/${name}.service`));
    }
    machine.unmount(folder);
  }

  function boot(script: string): Results {
    const options = { root, init: "/sbin/init", disks: [data, variable], timeLimitSeconds: 500 };
    const { status, stdout, stderr } = runGuest(machine, script, options);
    if (status !== 0) throw new Error(`${stdout}\n${stderr}`);
    return resultsOf(stdout);
  }

  test("starts what it installs, changes nothing the second time, and takes a backup", () => {
    const { files } = first.get("again") as { files: { change: string }[] };
    expect(new Set(files.map(({ change }) => change))).toEqual(new Set(["unchanged"]));
    expect(first.get("active")).toBe("active active ");
    expect(first.get("list")).toMatchObject({ backups: [{ consistency: "frozen", type: "base" }] });
    expect(first.get("faults")).toEqual([]);
  });

  test("has the daemon in the timer's place where it is asked for, watched by systemd", () => {
    expect(first.get("inTimersPlace")).toBe(0);
    expect(second.get("daemon")).toEqual(["active", "main", "2min", "0"]);
  });

  test("tracks after a reboot before the disk is written to", () => {
    const { tracked, mounted, wrote } = second.get("times") as Record<string, number>;
    expect(tracked).toBeGreaterThan(0);
    expect(tracked).toBeLessThan(mounted ?? 0);
    expect(mounted).toBeLessThan(wrote ?? 0);
    const { devices } = second.get("status") as TrackingReport;
    expect(devices).toHaveLength(1);
    const { sectorsCompleted = 0 } = devices[0]?.counters ?? {};
    expect(sectorsCompleted).toBeGreaterThan(0);
    expect(sectorsCompleted).toBe(second.get("counted"));
  });

  test("goes on with incrementals that trust what was tracked, and restores the disk as it is", () => {
    const compared = { type: "incremental", gapCheck: { verdict: "compared" } };
    const trusted = { type: "incremental", gapCheck: { verdict: "trusted" } };
    expect(second.get("bridged")).toMatchObject(compared);
    expect(second.get("trusted")).toMatchObject({ ...trusted, consistency: "frozen" });
    expect(second.get("last")).toMatchObject(trusted);
    expect(second.get("same")).toBe(true);
    expect(second.get("failed")).toBe(0);
  });

  test("leaves nothing after uninstall --purge, below a /var of its own neither", () => {
    const levels = (second.get("security") as string[]).map(
      (line) => / (\d+\.\d) /.exec(line)?.[1],
    );
    expect(levels.map(Number).every((level) => level < 6)).toBe(true);
    expect(second.get("left")).toEqual([]);
    expect(second.get("units")).toBe(0);
    expect(second.get("processes")).toBe(0);
  });
});
