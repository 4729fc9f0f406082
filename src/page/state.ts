/** What the page knows, and how events change it. Pure. */
import type { RestoreDocument } from "../api/restore_schemas.ts";
import type {
  ActivityDocument,
  BackupsDocument,
  FlushDocument,
  StatusDocument,
} from "../api/schemas.ts";
import { type ChangedExtent, cooled, type DiskMap, diskMapOf, withBlocks } from "./disk_map.ts";
import { type Pace, paceOf, type Step } from "./pace.ts";

export interface Failure {
  what: string;
  why: string;
  fix: string;
}

export type Connection =
  | { kind: "connecting" }
  | { kind: "open" }
  | { kind: "lost"; sinceMs: number };

export interface PageState {
  nowMs: number;
  connection: Connection;
  status: StatusDocument | undefined;
  /** By device. */
  maps: Readonly<Record<string, DiskMap>>;
  backups: BackupsDocument | undefined;
  /** Why there is no newer catalogue. */
  backupsFailure: Failure | undefined;
  /** Under way or waiting, in the order of the disks. */
  flushes: readonly FlushDocument[];
  /** Newest first; a few. */
  endedFlushes: readonly FlushDocument[];
  /** Newest first. */
  restores: readonly RestoreDocument[];
  /** By the id of a flush or restore. */
  paces: Readonly<Record<string, Pace>>;
  /** How many blocks have turned dirty, and when: of the last seconds. */
  writes: readonly { atMs: number; blocks: number }[];
}

export type PageEvent =
  | { kind: "tick" }
  | { kind: "connected" }
  | { kind: "lost" }
  | { kind: "status"; status: StatusDocument }
  | { kind: "activity"; activity: ActivityDocument }
  | { kind: "blocks"; blocks: readonly (ChangedExtent & { device: string })[] }
  | { kind: "flush"; flush: FlushDocument }
  | { kind: "restore"; restore: RestoreDocument }
  | { kind: "restores"; restores: readonly RestoreDocument[] }
  | { kind: "backups"; backups: BackupsDocument }
  | { kind: "backupsFailed"; failure: Failure };

const ENDED_MAX = 5;
const RESTORES_MAX = 20;
const RATE_MS = 5_000;

export function initialState(nowMs: number): PageState {
  return {
    ...{ nowMs, connection: { kind: "connecting" }, status: undefined, maps: {} },
    ...{ backups: undefined, backupsFailure: undefined },
    ...{ flushes: [], endedFlushes: [], restores: [], paces: {}, writes: [] },
  };
}

/** @param nowMs When the events are taken over. */
export function reduce(before: PageState, event: PageEvent, nowMs: number): PageState {
  const state = { ...before, nowMs };
  switch (event.kind) {
    case "tick":
      return calm(state);
    case "connected":
      return { ...state, connection: { kind: "open" } };
    case "lost":
      return { ...state, connection: lostSince(before.connection, nowMs) };
    case "status":
      return withStatus(state, event.status);
    case "activity":
      return withActivity(state, event.activity);
    case "blocks":
      return withWrites(state, event.blocks);
    case "flush":
      return withFlush(state, event.flush);
    case "restore":
      return withRestore(state, event.restore);
    case "restores":
      return event.restores.toReversed().reduce(withRestore, { ...state, restores: [] });
    case "backups":
      return { ...state, backups: event.backups, backupsFailure: undefined };
    case "backupsFailed":
      return { ...state, backupsFailure: event.failure };
  }
}

/** Blocks that turn dirty in a second. */
export function writeRate({ writes, nowMs }: PageState): number {
  const recent = writes.filter(({ atMs }) => nowMs - atMs < RATE_MS);
  return (recent.reduce((sum, { blocks }) => sum + blocks, 0) * 1000) / RATE_MS;
}

export function isUnderWay({ state }: FlushDocument): boolean {
  return state === "waiting" || state === "running";
}

/** The present phase of a restore, as a step. */
export function stepOf({ phase, bytesDone, bytesTotal }: RestoreDocument): Step {
  return { label: phase, doneBytes: bytesDone, totalBytes: bytesTotal };
}

function lostSince(connection: Connection, nowMs: number): Connection {
  return connection.kind === "lost" ? connection : { kind: "lost", sinceMs: nowMs };
}

/** What is shown for a moment only. */
function calm(state: PageState): PageState {
  const maps = Object.entries(state.maps).map(([device, map]) => [
    device,
    cooled(map, state.nowMs),
  ]);
  const writes = state.writes.filter(({ atMs }) => state.nowMs - atMs < RATE_MS);
  return { ...state, maps: Object.fromEntries(maps), writes };
}

/** The status knows all that is under way: what it does not name has ended unheard. */
function withStatus(state: PageState, status: StatusDocument): PageState {
  const flushes = status.disks.flatMap(({ flush }) => (flush === null ? [] : [flush]));
  const devices = new Set(status.disks.map(({ device }) => device));
  const maps = Object.entries(state.maps).filter(([device]) => devices.has(device));
  return withPaces({ ...state, status, flushes, maps: Object.fromEntries(maps) });
}

function withActivity(state: PageState, activity: ActivityDocument): PageState {
  const { device } = activity;
  const map = diskMapOf(activity, state.maps[device]);
  return { ...state, maps: { ...state.maps, [device]: map } };
}

function withWrites(
  state: PageState,
  blocks: readonly (ChangedExtent & { device: string })[],
): PageState {
  const maps = { ...state.maps };
  for (const device of new Set(blocks.map((extent) => extent.device))) {
    const map = maps[device];
    const own = blocks.filter((extent) => extent.device === device);
    if (map !== undefined) maps[device] = withBlocks(map, own, state.nowMs);
  }
  const count = blocks.reduce((sum, { blockCount }) => sum + blockCount, 0);
  const status = state.status && countedIn(state.status, blocks);
  return {
    ...state,
    status,
    maps,
    writes: [...state.writes, { atMs: state.nowMs, blocks: count }],
  };
}

/** Until the next status counts itself. */
function countedIn(
  status: StatusDocument,
  blocks: readonly (ChangedExtent & { device: string })[],
): StatusDocument {
  const disks = status.disks.map((disk) => {
    const own = blocks.filter(({ device }) => device === disk.device);
    const count = own.reduce((sum, { blockCount }) => sum + blockCount, 0);
    return {
      ...disk,
      changedBlocks: disk.changedBlocks === null ? null : disk.changedBlocks + count,
    };
  });
  return { ...status, disks };
}

function withFlush(state: PageState, flush: FlushDocument): PageState {
  const others = state.flushes.filter(({ id }) => id !== flush.id);
  if (isUnderWay(flush)) return withPaces({ ...state, flushes: [...others, flush] });
  const ended = [flush, ...state.endedFlushes.filter(({ id }) => id !== flush.id)];
  return { ...state, flushes: others, endedFlushes: ended.slice(0, ENDED_MAX) };
}

function withRestore(state: PageState, restore: RestoreDocument): PageState {
  const others = state.restores.filter(({ id }) => id !== restore.id);
  return withPaces({ ...state, restores: [restore, ...others].slice(0, RESTORES_MAX) });
}

function withPaces(state: PageState): PageState {
  const { nowMs, paces: before, flushes, restores } = state;
  const paces: Record<string, Pace> = {};
  for (const { id, progress } of flushes) {
    if (progress !== null) paces[id] = paceOf(before[id], progress, nowMs);
  }
  for (const restore of restores.filter((one) => one.state === "running")) {
    paces[restore.id] = paceOf(before[restore.id], stepOf(restore), nowMs);
  }
  return { ...state, paces };
}
