/** What happens in the daemon, as it happens: server-sent events, for the page. */
import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import { IbackupError } from "../errors.ts";
import type { Control, ControlEvent } from "./control.ts";

const SUBSCRIBERS_MAX = 32;
/** A reader that does not keep up is dropped; it asks again, and reads the status first. */
const WAITING_MAX = 1_000;
/** Shorter than the time after which the server closes a silent connection. */
const HEARTBEAT_MS = 10_000;

const subscribers = new WeakMap<Control, number>();

/** The first event is the status. */
export function streamEvents(context: Context, control: Control): Response {
  const count = subscribers.get(control) ?? 0;
  if (count >= SUBSCRIBERS_MAX) throw tooMany();
  subscribers.set(control, count + 1);
  return streamSSE(context, async (stream) => {
    const waiting: ControlEvent[] = [{ kind: "status", data: control.status() }];
    let isOver = false;
    let wake = (): void => undefined;
    // A write to a reader that went away never ends: who is over is forgotten without it.
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      clearInterval(heartbeat);
      unsubscribe();
      subscribers.set(control, (subscribers.get(control) ?? 1) - 1);
      stream.abort();
      wake();
    };
    const unsubscribe = control.subscribe((event) => {
      waiting.push(event);
      if (waiting.length > WAITING_MAX) finish();
      else wake();
    });
    const heartbeat = setInterval(() => wake(), HEARTBEAT_MS);
    stream.onAbort(finish);
    while (!isOver) {
      for (const { kind, data } of waiting.splice(0)) {
        await stream.writeSSE({ event: kind, data: JSON.stringify(data) });
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (waiting.length > 0 || isOver) resolve();
      });
      if (waiting.length === 0 && !isOver) await stream.write(": still there\n\n");
    }
  });
}

function tooMany(): IbackupError {
  return new IbackupError("LOCKED", "Cannot tell of events", {
    why: `${SUBSCRIBERS_MAX} others listen to them already`,
    fix: "close one of them",
  });
}
