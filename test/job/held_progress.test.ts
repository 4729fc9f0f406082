import { expect, test } from "vitest";
import { HeldProgress } from "../../src/job/held_progress.ts";

function recorder() {
  const calls: string[] = [];
  const inner = {
    begin: (label: string, bytes: number) => void calls.push(`begin ${label} ${bytes}`),
    advance: (bytes: number) => void calls.push(`advance ${bytes}`),
    message: (text: string) => void calls.push(`message ${text}`),
    end: () => void calls.push("end"),
  };
  return { calls, progress: new HeldProgress(inner) };
}

test("held progress shows nothing, and afterwards the messages", () => {
  const { calls, progress } = recorder();
  progress.begin("reading", 10);
  progress.hold();
  const before = [...calls];
  expect(before).toEqual(["begin reading 10", "end"]);
  progress.begin("more", 5);
  progress.advance(1);
  progress.message("one");
  progress.hold();
  progress.message("two");
  progress.end();
  expect(calls).toEqual(before);
  progress.release();
  progress.advance(2);
  expect(calls).toEqual([...before, "message one", "message two", "advance 2"]);
});
