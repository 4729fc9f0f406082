/** How large settings may be. Stands alone, so that `--help` loads no parser. */

/** The helper thaws after ten minutes at the latest. */
export const FREEZE_LIMIT = { maxMs: 600_000, orZero: true };
export const FREEZE_BUDGET = { maxMs: 600_000 };
export const HOOK_TIME_LIMIT = { maxMs: 3_600_000 };
export const PASSES_MAX = 1000;
/** Each takes 16 MiB of memory. */
export const PARALLEL_UPLOADS_MAX = 16;
/** As many as `prune --keep-...` takes. */
export const KEEP_MAX = 99_999;
/** For each way of telling. */
export const NOTIFY_TIME_LIMIT = { maxMs: 300_000 };
