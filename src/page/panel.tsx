/** What an element of the picture has to say: what it is, how it stands, what can be done with it. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { DiskDocument } from "../api/schemas.ts";
import { formatBytes } from "../core/units.ts";
import { diskFacts, storeFacts } from "./disk_facts.tsx";
import { type ElementId, type Station, TITLES } from "./elements.ts";
import { type Fact, Facts } from "./facts.tsx";
import { FileSystems } from "./file_systems.tsx";
import { formatTime, formatWhen } from "./format.ts";
import { PANEL_ID } from "./picture.tsx";
import { type PageState, writeRate } from "./state.ts";
import { ReloadOption, TrackingOption } from "./tracking_option.tsx";

interface PanelProps {
  id: ElementId | undefined;
  state: PageState;
  onBackup: (device: string) => void;
  onRestore: () => void;
  onReread: () => void;
  onClose: () => void;
}

/** The region is always there, for the elements point to it; empty, it is not seen. */
export function Panel(props: PanelProps): JSX.Element {
  const { id, onClose } = props;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // Below the fold on a small screen: who opened it should see it.
    if (id !== undefined) heading.current?.scrollIntoView({ block: "nearest" });
  }, [id]);
  if (id === undefined) return <section id={PANEL_ID} hidden />;
  const title = isDisk(id) ? deviceOf(id) : TITLES[id];
  return (
    <section id={PANEL_ID} class="panel card" aria-labelledby="panel-title">
      <header class="card-head">
        <h2 id="panel-title" ref={heading}>
          {title}
        </h2>
        <button type="button" class="quiet" onClick={onClose}>
          Close
        </button>
      </header>
      {isDisk(id) ? <DiskBody {...props} device={deviceOf(id)} /> : BODIES[id](props)}
    </section>
  );
}

function isDisk(id: ElementId): id is `disk:${string}` {
  return id.startsWith("disk:");
}

function deviceOf(id: `disk:${string}`): string {
  return id.slice("disk:".length);
}

function Body({ words, children }: { words: string; children: ComponentChildren }): JSX.Element {
  return (
    <>
      <p class="words">{words}</p>
      {children}
    </>
  );
}

const BODIES: Record<Station, (props: PanelProps) => JSX.Element> = {
  application: ({ state }) => {
    const changed = changedBytes(state);
    const facts: Fact[] = [
      ["Blocks that turn dirty", `${Math.round(writeRate(state)).toLocaleString("en-US")} /s`],
      [
        "Changed since the newest backups",
        changed === undefined ? "unknown" : formatBytes(changed),
      ],
    ];
    const words =
      "Databases, servers, whatever runs here. They write as ever; nothing of theirs is changed or" +
      " slowed to be backed up. A block that is written again before a backup counts once.";
    return (
      <Body words={words}>
        <Facts of={facts} />
      </Body>
    );
  },
  fileSystem: ({ state }) => {
    const words =
      "Turns files into blocks of the disk, at its own time: what an application has written may reach" +
      " the disk seconds later. A frozen backup makes it write everything out first.";
    return (
      <Body words={words}>
        <FileSystems devices={(state.status?.disks ?? []).map(({ device }) => device)} />
      </Body>
    );
  },
  hook: ({ state }) => {
    const words =
      "A small eBPF program in the kernel. Whenever a block of a tracked disk is written, it sets one" +
      " bit. It goes on with no process of ibackup alive.";
    return (
      <Body words={words}>
        {(state.status?.disks ?? []).map((disk) => (
          <TrackingOption key={disk.device} disk={disk} />
        ))}
      </Body>
    );
  },
  helper: ({ state }) => {
    const daemon = state.status?.daemon;
    const facts: Fact[] = [
      ["Hears of changed blocks", daemon?.isListening === true ? "yes" : "no"],
      ["Events lost", (daemon?.eventsLost ?? 0).toLocaleString("en-US")],
    ];
    const words =
      "The one privileged part: it loads the hook, collects the bits, and freezes file systems for the" +
      " last blocks. It decides nothing and stores nothing. A lost event makes the map late, never a backup wrong.";
    return (
      <Body words={words}>
        <Facts of={facts} />
      </Body>
    );
  },
  daemon: DaemonBody,
  store: ({ state, onRestore, onReread }) => (
    <Body words="Where the backups lie: a folder or an S3 bucket. Each holds only what changed; together they give any backup.">
      <Facts of={storeFacts(state)} />
      <div class="options">
        <button type="button" onClick={onRestore}>
          Restore…
        </button>
        <button type="button" onClick={onReread}>
          Read the catalogue again
        </button>
      </div>
    </Body>
  ),
};

function DaemonBody({ state }: PanelProps): JSX.Element {
  const { daemon = null, chores = [] } = state.status ?? {};
  const { nowMs } = state;
  const facts: Fact[] = [
    ["Version", daemon?.version ?? "unknown"],
    ["Runs since", daemon === null ? "unknown" : formatTime(daemon.startedAt)],
    ["Config file", daemon?.configFile ?? "none"],
    ...chores.map(({ name, isRunning, nextAt, outcome, schedule }): Fact => {
      const next = nextAt === null ? schedule : formatWhen(Date.parse(nextAt), nowMs);
      return [`Next ${name}`, isRunning ? "under way" : `${next}; ${outcome ?? "not yet done"}`];
    }),
  ];
  const words =
    "Looks after all disks: hears what changes, takes a backup when one is due, prunes and verifies by" +
    " the calendar, and tells of what goes wrong.";
  return (
    <Body words={words}>
      <Facts of={facts} />
      <ReloadOption />
    </Body>
  );
}

function DiskBody({ state, device, onBackup }: PanelProps & { device: string }): JSX.Element {
  const disk = state.status?.disks.find((one) => one.device === device);
  if (disk === undefined) return <p class="words">This disk is no longer looked after.</p>;
  const words =
    "Each square is a part of the disk; the darker, the more of its blocks have changed since the" +
    " newest backup. The next incremental stores these blocks, and no others.";
  return (
    <Body words={words}>
      <Facts of={diskFacts(disk, state)} />
      <div class="options">
        <button type="button" onClick={() => onBackup(device)}>
          Back up this disk…
        </button>
      </div>
    </Body>
  );
}

function changedBytes({ status }: PageState): number | undefined {
  const amounts = (status?.disks ?? []).map(amountOf);
  if (amounts.includes(undefined)) return undefined;
  return amounts.reduce<number>((sum, amount) => sum + (amount ?? 0), 0);
}

function amountOf({ changedBlocks, blockBytes }: DiskDocument): number | undefined {
  return changedBlocks === null || blockBytes === null ? undefined : changedBlocks * blockBytes;
}
