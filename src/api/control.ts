/** What the API needs of the daemon behind it. */
import type {
  RestoreDocument,
  RestorePlanDocument,
  RestorePlanRequest,
  RestoreRequest,
  TargetsDocument,
} from "./restore_schemas.ts";
import type {
  ActivityDocument,
  BackupsDocument,
  FlushDocument,
  FlushRequest,
  StatusDocument,
} from "./schemas.ts";

/** Something has changed: `data` is the document of that kind. */
export type ControlEvent =
  | { kind: "flush"; data: FlushDocument }
  | { kind: "restore"; data: RestoreDocument }
  | { kind: "blocks"; data: { device: string; firstBlock: number; blockCount: number }[] }
  | { kind: "status"; data: StatusDocument };

export type HookChoice = "block" | "buffer" | "both";

/** Its methods throw IbackupError. */
export interface Control {
  status(): StatusDocument;
  metrics(): string;
  /** Undefined when no such disk is tracked. */
  activity(device: string): ActivityDocument | undefined;
  /** Puts a flush of each device in front of those that wait; one that waits already is taken over. */
  flush(request: FlushRequest): FlushDocument[];
  /** Undefined when there is none of that id, or it ended long ago. */
  flushOf(id: string): FlushDocument | undefined;
  backups(scope: { vm?: string | undefined; disk?: string | undefined }): Promise<BackupsDocument>;
  startTracking(devices: readonly string[], hook: HookChoice): Promise<object>;
  /** @param devices None: all. */
  stopTracking(devices: readonly string[]): Promise<object>;
  targets(): Promise<TargetsDocument>;
  /** Changes nothing. The plan can be carried out once, and for some minutes. */
  planRestore(request: RestorePlanRequest): Promise<RestorePlanDocument>;
  /** Begins what was planned, if the target is still what it was. */
  restore(request: RestoreRequest): Promise<RestoreDocument>;
  /** Undefined when there is none of that id, or it ended long ago. */
  restoreOf(id: string): RestoreDocument | undefined;
  /** Newest first. */
  restores(): RestoreDocument[];
  reload(): void;
  /** @returns Ends it. */
  subscribe(listener: (event: ControlEvent) => void): () => void;
}
