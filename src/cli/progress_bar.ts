/** Progress on standard error: a bar on a terminal, messages everywhere. */
import type cliProgress from "cli-progress";
import { formatBytes, formatDuration } from "../core/units.ts";
import { type Progress, SILENT_PROGRESS } from "../job/progress.ts";

/**
 * @param stream Standard error.
 * @param terminal What TERM says: a dumb one cannot redraw a line.
 */
export async function openProgress(
  stream: NodeJS.WriteStream,
  terminal: string | undefined,
): Promise<Progress> {
  const write = (text: string): void => void stream.write(`${text}\n`);
  if (!stream.isTTY || terminal === "dumb") return { ...SILENT_PROGRESS, message: write };
  const { default: library } = await import("cli-progress");
  return new BarProgress(write, (label, totalBytes) => {
    const options = { ...OPTIONS, stream, format: formatOf(label, totalBytes) };
    return new library.SingleBar(options, library.Presets.legacy);
  });
}

const OPTIONS: cliProgress.Options = {
  formatValue: (value, _, type) =>
    type === "value" || type === "total" ? formatBytes(value) : String(value),
  formatTime: (seconds) =>
    Number.isFinite(seconds) ? `${formatDuration(seconds * 1000)} left` : "",
  barsize: 30,
  // Speeds differ between holes and data: the last few hundred steps say more than the last ten.
  etaBuffer: 500,
  fps: 5,
  clearOnComplete: true,
  // Both would outlive a SIGKILL, or end the process without clearing up.
  hideCursor: false,
  gracefulExit: false,
};

function formatOf(label: string, totalBytes: number): string {
  if (totalBytes === 0) return `${label} {value}`;
  return `${label} [{bar}] {percentage}% {value} of {total} {eta_formatted}`;
}

type OpenBar = (label: string, totalBytes: number) => cliProgress.SingleBar;

class BarProgress implements Progress {
  readonly #write: (text: string) => void;
  readonly #openBar: OpenBar;
  #bar: cliProgress.SingleBar | undefined;
  #label = "";
  #totalBytes = 0;
  #doneBytes = 0;

  constructor(write: (text: string) => void, openBar: OpenBar) {
    this.#write = write;
    this.#openBar = openBar;
  }

  begin(label: string, totalBytes: number): void {
    this.end();
    this.#label = label;
    this.#totalBytes = totalBytes;
    this.#doneBytes = 0;
    this.#draw();
  }

  advance(bytes: number): void {
    this.#doneBytes += bytes;
    this.#bar?.update(this.#doneBytes);
  }

  message(text: string): void {
    const wasDrawn = this.#bar !== undefined;
    this.end();
    this.#write(text);
    if (wasDrawn) this.#draw();
  }

  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #draw(): void {
    this.#bar = this.#openBar(this.#label, this.#totalBytes);
    this.#bar.start(this.#totalBytes, this.#doneBytes);
  }
}
