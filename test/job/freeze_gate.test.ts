import { describe, expect, test } from "vitest";
import { FreezeGate } from "../../src/job/freeze_gate.ts";

/** Something that goes on until it is told to end, and what happened until now. */
function course() {
  const happened: string[] = [];
  const gate = new FreezeGate();
  const ends = new Map<string, () => void>();
  const until = (name: string) => async (): Promise<string> => {
    happened.push(`${name} begins`);
    const { promise, resolve } = Promise.withResolvers<void>();
    ends.set(name, resolve);
    await promise;
    happened.push(`${name} ends`);
    return name;
  };
  /** When all that can go on has gone on. */
  const settled = async (): Promise<string[]> => {
    await new Promise((resolve) => setImmediate(resolve));
    return happened.splice(0);
  };
  return { gate, until, settled, end: (name: string) => ends.get(name)?.() };
}

describe("FreezeGate", () => {
  test("lets nobody write before all that is frozen is thawed", async () => {
    const { gate, until, settled, end } = course();
    const freezes = [gate.freeze(until("freeze 1")), gate.freeze(until("freeze 2"))];
    await settled();
    const write = gate.write(() => "written");
    let isWritten = false;
    void write.then(() => (isWritten = true));
    end("freeze 1");
    expect(await settled()).toEqual(["freeze 1 ends"]);
    expect(isWritten).toBe(false);
    end("freeze 2");
    expect(await write).toBe("written");
    expect(await Promise.all(freezes)).toEqual(["freeze 1", "freeze 2"]);
  });

  test("writes at once, in the same turn, where nothing is frozen", () => {
    let isWritten = false;
    void new FreezeGate().write(() => (isWritten = true));
    expect(isWritten).toBe(true);
  });

  test("freezes when those who write have ended, and those who come later wait", async () => {
    const { gate, until, settled, end } = course();
    const writes = [gate.write(until("write 1")), gate.write(until("write 2"))];
    const freeze = gate.freeze(until("freeze"));
    const later = gate.write(until("write 3"));
    end("write 1");
    expect(await settled()).toEqual(["write 1 begins", "write 2 begins", "write 1 ends"]);
    end("write 2");
    expect(await settled()).toEqual(["write 2 ends", "freeze begins"]);
    end("freeze");
    expect(await settled()).toEqual(["freeze ends", "write 3 begins"]);
    end("write 3");
    await Promise.all([...writes, freeze, later]);
  });

  test("goes on after what fails", async () => {
    const gate = new FreezeGate();
    const failing = () => Promise.reject(new Error("no room"));
    await expect(gate.write(failing)).rejects.toThrow("no room");
    await expect(gate.freeze(failing)).rejects.toThrow("no room");
    expect(await gate.write(() => 1)).toBe(1);
    expect(await gate.freeze(async () => 2)).toBe(2);
  });
});
