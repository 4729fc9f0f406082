/** Progress on standard error: a bar on a terminal, messages everywhere. */
import { formatBytes } from "../core/units.ts";
import type { Progress } from "../job/progress.ts";

export interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const CLEAR_LINE = "\r\u001b[K";

/** @param stream Standard error. */
export async function openProgress(stream: NodeJS.WriteStream): Promise<Progress> {
  if (!stream.isTTY) return plainProgress(stream);
  const { default: cliProgress } = await import("cli-progress");
  let bar: InstanceType<typeof cliProgress.SingleBar> | undefined;
  const end = (): void => {
    bar?.stop();
    bar = undefined;
  };
  return {
    begin(label, totalBytes) {
      end();
      const options = {
        stream,
        format:
          totalBytes > 0
            ? `${label} [{bar}] {percentage}% {value}/{total} {eta}`
            : `${label} {value}`,
        formatValue: (value: number, _: unknown, type: string) => formatValue(value, type),
        formatTime: (seconds: number) => `${seconds} s left`,
        barsize: 30,
        etaBuffer: 100,
        fps: 5,
        clearOnComplete: true,
        hideCursor: null,
        gracefulExit: false,
      };
      bar = new cliProgress.SingleBar(options, cliProgress.Presets.legacy);
      bar.start(totalBytes, 0);
    },
    advance: (bytes) => bar?.increment(bytes),
    message(text) {
      stream.write(`${bar ? CLEAR_LINE : ""}${text}\n`);
    },
    end,
  };
}

function plainProgress(stream: Terminal): Progress {
  return {
    begin: () => undefined,
    advance: () => undefined,
    message: (text) => void stream.write(`${text}\n`),
    end: () => undefined,
  };
}

function formatValue(value: number, type: string): string {
  return type === "value" || type === "total" ? formatBytes(value) : String(value);
}
