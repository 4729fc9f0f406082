/** Tells people: by webhook, command and mail of alarms, and a watcher elsewhere of each backup. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { runHookCommand } from "../job/hook_process.ts";
import type { AlarmChange } from "./alarms.ts";
import { formatLetter, oneLine } from "./letter.ts";
import type { Service } from "./service.ts";

const SENDMAIL = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

export class Notifier {
  readonly #service: Service;
  readonly #sendmail: readonly string[];
  readonly #underWay = new Set<Promise<void>>();

  /** @param sendmail Paths, of which the first that is there is used. */
  constructor(service: Service, sendmail: readonly string[] = SENDMAIL) {
    this.#service = service;
    this.#sendmail = sendmail;
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
      const words = {
        IBACKUP_EVENT: change.event,
        IBACKUP_SUBJECT: subject,
        IBACKUP_MESSAGE: text,
      };
      this.#attempt("command", () => this.#run(command, words));
    }
    if (mail !== undefined) {
      this.#attempt("mail", () => this.#send(formatLetter({ to: mail, subject, text })));
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

  async #run(command: string, words: Record<string, string>, input?: string): Promise<void> {
    const { fault } = await runHookCommand({
      command,
      environment: { ...this.#service.context.environment, ...words },
      timeLimitMs: this.#service.settings.notify.timeLimitMs,
      input,
    });
    if (fault !== undefined) throw new Undelivered(fault);
  }

  async #send(letter: string): Promise<void> {
    const program = this.#sendmail.find((path) => existsSync(path));
    if (program === undefined) throw new Undelivered(`there is no ${this.#sendmail[0]}`);
    await this.#run('exec "$IBACKUP_SENDMAIL" -t -oi', { IBACKUP_SENDMAIL: program }, letter);
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
