/** Documents of the API for tests: all is well, and little is known. */
import type { DiskDocument, StatusDocument } from "../../src/api/schemas.ts";

export function statusDocument(change: Partial<StatusDocument> = {}): StatusDocument {
  return {
    daemon: {
      ...{ version: "0.0.0", pid: 1, startedAt: "2026-11-22T00:00:00.000Z" },
      ...{ isListening: true, eventsLost: 0, configFile: null },
    },
    ...{ repo: "file:///srv", vmId: "web-1", disks: [], chores: [], alarms: [] },
    ...change,
  };
}

export function diskDocument(change: Partial<DiskDocument> = {}): DiskDocument {
  return {
    ...{ device: "/dev/vda", diskName: null, sizeBytes: null, isTracked: true, blockBytes: null },
    ...{ changedBlocks: null, taints: [], newest: null, isNewestKnown: false, next: null },
    ...{ retryAt: null, flush: null },
    totals: {
      ...{ flushesDone: 0, flushesFailed: 0, bytesRead: 0, bytesStored: 0 },
      ...{ lastFlushMs: null, lastFreezeMs: null },
    },
    ...change,
  };
}
