/** What the daemon says: lines on standard error, for people, for journald, or as JSON. */

export type LogLevel = "error" | "warning" | "info";
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  /** @param fields Never a secret, like the message. */
  write(level: LogLevel, message: string, fields?: LogFields): void;
}

/** As syslog numbers them; journald reads this at the beginning of a line. */
const PRIORITY: Readonly<Record<LogLevel, number>> = { error: 3, warning: 4, info: 6 };

export type LogFormat = "json" | "journald" | "text";

export class LineLog implements Log {
  readonly #format: LogFormat;
  readonly #write: (line: string) => void;
  readonly #now: () => Date;

  constructor(format: LogFormat, write: (line: string) => void, now: () => Date) {
    this.#format = format;
    this.#write = write;
    this.#now = now;
  }

  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    const time = this.#now().toISOString();
    if (this.#format === "json") {
      this.#write(`${JSON.stringify({ time, level, message, ...fields })}\n`);
      return;
    }
    const head = this.#format === "journald" ? `<${PRIORITY[level]}>` : `${time} ${level}: `;
    const tail = Object.entries(fields).map(([name, value]) => ` ${name}=${value}`);
    this.#write(`${head}${oneLine(message + tail.join(""))}\n`);
  }
}

/** Names come from repositories, and messages from commands. */
function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, " ");
}
