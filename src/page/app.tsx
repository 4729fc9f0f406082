/** The page: one screen. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { BackupDialog } from "./backup_dialog.tsx";
import { Schedule } from "./disk_facts.tsx";
import type { ElementId } from "./elements.ts";
import { History } from "./history.tsx";
import { Live } from "./live.ts";
import { Alarms, UnderWay } from "./notices.tsx";
import { Panel } from "./panel.tsx";
import { Picture } from "./picture.tsx";
import { RestoreDialog } from "./restore_dialog.tsx";
import { initialState, type PageState } from "./state.ts";

type Open = { kind: "backup"; device: string } | { kind: "restore"; backupId: string | undefined };

export function App(): JSX.Element {
  const [state, setState] = useState<PageState>(() => initialState(Date.now()));
  const live = useRef<Live>(null);
  const [selected, select] = useState<ElementId>();
  const [open, setOpen] = useState<Open>();
  useEffect(() => {
    live.current = new Live(setState);
  }, []);
  const close = (): void => setOpen(undefined);
  const restore = (backupId?: string): void => setOpen({ kind: "restore", backupId });
  const backUp = (device: string): void => setOpen({ kind: "backup", device });
  const disks = state.status?.disks ?? [];
  return (
    <>
      <Header state={state} onBackup={() => backUp("")} onRestore={() => restore()} />
      <main>
        <Alarms state={state} />
        <UnderWay state={state} />
        <Picture
          state={state}
          selected={selected}
          onSelect={(id) => select((before) => (before === id ? undefined : id))}
        />
        <Panel
          id={selected}
          state={state}
          onBackup={backUp}
          onRestore={restore}
          onReread={() => live.current?.readBackups()}
          onClose={() => select(undefined)}
        />
        <div class="below">
          <Schedule state={state} />
          <History state={state} onRestore={restore} />
        </div>
      </main>
      {open?.kind === "backup" && (
        <BackupDialog disks={disks} device={open.device} onClose={close} />
      )}
      {open?.kind === "restore" && (
        <RestoreDialog state={state} backupId={open.backupId} onClose={close} />
      )}
    </>
  );
}

interface HeaderProps {
  state: PageState;
  onBackup: () => void;
  onRestore: () => void;
}

const CONNECTION = { connecting: "connecting…", open: "live", lost: "connection lost" } as const;

function Header({ state, onBackup, onRestore }: HeaderProps): JSX.Element {
  const { connection, status, backups } = state;
  const hasDisks = (status?.disks.length ?? 0) > 0;
  return (
    <header class="top">
      <img src="/icon.svg" alt="" width="32" height="32" />
      <h1>
        ibackup <span class="vm">{status?.vmId}</span>
      </h1>
      <span class={`connection is-${connection.kind}`} role="status">
        {CONNECTION[connection.kind]}
      </span>
      <div class="top-buttons">
        <button type="button" class="primary" disabled={!hasDisks} onClick={onBackup}>
          Back up
        </button>
        <button type="button" disabled={!backups?.backups.length} onClick={onRestore}>
          Restore
        </button>
      </div>
    </header>
  );
}
