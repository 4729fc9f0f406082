/** Tells people: by webhook, command and mail of alarms, and a watcher elsewhere of each backup. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { runHookCommand } from "../job/hook_process.ts";
import type { AlarmChange } from "./alarms.ts";
import type { Service } from "./service.ts";

const SENDMAIL = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

export class Notifier {
  readonly #service: Service;
  readonly #underWay = new Set<Promise<void>>();

  constructor(service: Service) {
    this.#service = service;
  }

  /** Never fails, and is not waited for: a failure is an alarm of its own, which nobody is told of. */
  tell(change: AlarmChange): void {
    if (change.alarm.kind === "notify") return;
    const { webhook, command, mail } = this.#service.settings.notify;
    const { subject, text } = this.#words(change);
    if (webhook !== undefined) {
      const { vmId } = this.#service.settings;
      const body = JSON.stringify({ ...change, vmId, hostName: hostname(), subject });
      this.#attempt("webhook", (signal) => post(webhook, body, signal));
    }
    if (command !== undefined) {
      const { event } = change;
      this.#attempt("command", () => this.#run(command, { event, subject, text }));
    }
    if (mail !== undefined) {
      const letter = `To: ${mail}\nSubject: ${subject}\nAuto-Submitted: auto-generated\n\n${text}`;
      this.#attempt("mail", (signal) => send(letter, signal));
    }
  }

  /** A backup was taken. */
  beat(): void {
    const { heartbeat } = this.#service.settings.notify;
    if (heartbeat !== undefined) {
      this.#attempt("heartbeat", (signal) => ask(heartbeat, { signal }));
    }
  }

  async ended(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** What it tells of a failure never holds the address or the command. */
  #attempt(way: string, work: (signal: AbortSignal) => Promise<void>): void {
    const { alarms, settings } = this.#service;
    const attempt = work(AbortSignal.timeout(settings.notify.timeLimitMs))
      .then(() => alarms.pass("notify", null))
      .catch((error: unknown) => alarms.raise("notify", null, undelivered(way, error)));
    this.#underWay.add(attempt);
    void attempt.finally(() => this.#underWay.delete(attempt));
  }

  async #run(
    command: string,
    { event, subject, text }: { event: string; subject: string; text: string },
  ): Promise<void> {
    const { fault } = await runHookCommand({
      command,
      environment: {
        ...this.#service.context.environment,
        IBACKUP_EVENT: event,
        IBACKUP_SUBJECT: subject,
        IBACKUP_MESSAGE: text,
      },
      timeLimitMs: this.#service.settings.notify.timeLimitMs,
    });
    if (fault !== undefined) throw new Undelivered(fault);
  }

  #words({ event, alarm }: AlarmChange): { subject: string; text: string } {
    const { what, why, fix } = alarm.failure;
    const { vmId } = this.#service.settings;
    const where = alarm.device === null ? vmId : `${vmId} ${alarm.device}`;
    const head = event === "raised" ? "ibackup alarm" : "ibackup: passed";
    const subject = oneLine(`${head}: ${where}: ${what}`);
    const text = `${what}\n\nwhy: ${why}\nfix: ${fix}\nsince: ${alarm.since}\n`;
    return { subject, text };
  }
}

/** Its message is safe to be told. */
class Undelivered extends Error {}

async function post(url: string, body: string, signal: AbortSignal): Promise<void> {
  await ask(url, { method: "POST", body, signal, headers: { "content-type": "application/json" } });
}

async function ask(url: string, request: RequestInit): Promise<void> {
  const answer = await fetch(url, { redirect: "error", ...request });
  await answer.body?.cancel();
  if (!answer.ok) throw new Undelivered(`it was answered with ${answer.status}`);
}

async function send(letter: string, signal: AbortSignal): Promise<void> {
  const program = SENDMAIL.find((path) => existsSync(path));
  if (program === undefined) throw new Undelivered(`there is no ${SENDMAIL[0]}`);
  const child = spawn(program, ["-t", "-oi"], {
    stdio: ["pipe", "ignore", "ignore"],
    signal,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (status, killer) => {
      if (status === 0) resolve();
      else reject(new Undelivered(`sendmail ended with ${killer ?? `status ${status}`}`));
    });
  });
  // It may end without having read anything; how it ended says why.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(letter);
  await ended;
}

function undelivered(way: string, error: unknown): IbackupError {
  return new IbackupError("IO", `Cannot tell of what has happened by ${way}`, {
    why: reasonOf(error),
    fix: `see \`${way}\` of [notify] in the config file`,
  });
}

function reasonOf(error: unknown): string {
  if (error instanceof Undelivered) return error.message;
  if (error instanceof Error && ["TimeoutError", "AbortError"].includes(error.name)) {
    return "it took too long";
  }
  return systemCodeOf(error) ?? "it could not be reached";
}

function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, " ").slice(0, 200);
}
