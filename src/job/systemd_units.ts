/** What systemd is told: unit files, as text. */

export interface UnitOptions {
  /** Absolute path of ibackup. */
  program: string;
  /** Of the machine's disks, as the config file names them. */
  disks: readonly string[];
  /** Named where it is not the default one. */
  configFile: string | undefined;
  /** Whether it is a daemon that takes the backups, or else a timer. */
  hasDaemon: boolean;
  /** Whether the config file says when a backup is due; else one is taken each hour. */
  hasTrigger: boolean;
}

export interface Unit {
  name: string;
  text: string;
  /** The unit that pulls it in. */
  wantedBy: string | undefined;
}

/** The first line of what `install` writes: `uninstall` removes nothing else. */
export const MARK = "# Written by `ibackup install`; `ibackup uninstall` removes it.";

export function planUnits(options: UnitOptions): Unit[] {
  const track = unit("ibackup-track.service", "sysinit.target", trackUnit(options));
  if (options.hasDaemon) {
    return [track, unit("ibackup.service", "multi-user.target", daemonUnit(options))];
  }
  return [
    track,
    unit("ibackup-flush.service", undefined, flushUnit(options)),
    unit("ibackup-flush.timer", "timers.target", timerUnit(options)),
  ];
}

/** The same without systemd, as lines of /etc/crontab. */
export function planCrontab(options: UnitOptions): string[] {
  const { hasTrigger } = options;
  return [
    `@reboot root ${commandLine(options, "track start")}`,
    hasTrigger
      ? `* * * * * root ${commandLine(options, "flush --if-due")}`
      : `17 * * * * root ${commandLine(options, "flush")}`,
  ];
}

/** As `systemd-escape --path` has it. */
export function deviceUnitOf(path: string): string {
  const escaped = path
    .replace(/^\/+|\/+$/g, "")
    .replaceAll(/\/+/g, "/")
    .replaceAll(/[^A-Za-z0-9:_./]|^\./g, (character) =>
      [...new TextEncoder().encode(character)]
        .map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`)
        .join(""),
    )
    .replaceAll("/", "-");
  return `${escaped}.device`;
}

function unit(name: string, wantedBy: string | undefined, text: string): Unit {
  const install = wantedBy === undefined ? "" : `\n[Install]\nWantedBy=${wantedBy}\n`;
  return { name, wantedBy, text: `${MARK}\n${text}${install}` };
}

function trackUnit(options: UnitOptions): string {
  const devices = options.disks.map(deviceUnitOf).join(" ");
  return `[Unit]
Description=ibackup: note which blocks are written
Documentation=man:ibackup-track(8)
# Before any file system but the root is mounted. A disk that is not there holds the boot up for
# no longer than the time below.
DefaultDependencies=no
Wants=local-fs-pre.target ${devices}
After=systemd-remount-fs.service ${devices}
Before=local-fs-pre.target
JobTimeoutSec=30s

[Service]
Type=oneshot
RemainAfterExit=yes
# /var may be mounted later: nothing that lasts is written there.
Environment=IBACKUP_EARLY=1
ExecStart=${commandLine(options, "track start")}
TimeoutStartSec=30s
RestrictAddressFamilies=AF_UNIX
${HARDENING}`;
}

function daemonUnit(options: UnitOptions): string {
  return `[Unit]
Description=ibackup: backups of this machine
Documentation=man:ibackup-daemon(8)
${AFTER_BOOT}
[Service]
Type=notify
ExecStart=${commandLine(options, "daemon")}
# By the shell: a small system has no /bin/kill.
ExecReload=/bin/sh -c 'kill -HUP "$MAINPID"'
Restart=on-failure
RestartSec=10s
WatchdogSec=120s
# A flush that is under way is given the time to end in order.
TimeoutStopSec=60s
${SERVICE}`;
}

function flushUnit(options: UnitOptions): string {
  return `[Unit]
Description=ibackup: take a backup
Documentation=man:ibackup-flush(8)
${AFTER_BOOT}
[Service]
Type=oneshot
ExecStart=${commandLine(options, options.hasTrigger ? "flush --if-due" : "flush")}
${SERVICE}`;
}

function timerUnit({ hasTrigger }: UnitOptions): string {
  return `[Unit]
Description=ibackup: ${hasTrigger ? "look whether a backup is due" : "take a backup each hour"}
Documentation=man:ibackup-flush(8)

[Timer]
OnCalendar=${hasTrigger ? "*:*:00" : "*:17:00"}
AccuracySec=${hasTrigger ? "10s" : "1min"}
`;
}

const AFTER_BOOT = `Wants=network-online.target ibackup-track.service
After=network-online.target local-fs.target ibackup-track.service
`;

/**
 * What ibackup has no use for. Not restricted are /sys (bpffs, rcu_expedited), /proc, mounts (what
 * is to be frozen has to be seen), writing (repositories lie anywhere), and the rights that hooks
 * need to become somebody else.
 */
const HARDENING = `CapabilityBoundingSet=CAP_SYS_ADMIN CAP_BPF CAP_PERFMON CAP_SYS_RESOURCE CAP_IPC_LOCK
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_CHOWN CAP_FOWNER CAP_KILL
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SYS_NICE
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
LockPersonality=yes
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LimitMEMLOCK=infinity
UMask=0077
`;

const SERVICE = `RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=6
${HARDENING}`;

function commandLine({ program, configFile }: UnitOptions, command: string): string {
  const words = [program, ...command.split(" ")];
  if (configFile !== undefined) words.push("--config", configFile);
  return words.join(" ");
}
