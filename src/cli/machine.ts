/** What the program needs of the process that it runs in. */
import type { Settings } from "../config/settings.ts";
import type { OpenContext } from "../job/context.ts";

export interface Machine {
  version: string;
  environment: Readonly<Record<string, string | undefined>>;
  /** Resolves when the text is on its way; a reader that went away is no failure. */
  writeOut(text: string): Promise<void>;
  writeError(text: string): Promise<void>;
  openContext(settings: Settings): Promise<OpenContext>;
  /** From now on SIGHUP calls this, instead of ending the program. */
  onHangup(reload: () => void): void;
  /** For `ibackup shell`, which runs many commands in one process. */
  terminal: MachineTerminal;
}

export interface MachineTerminal {
  input: NodeJS.ReadStream;
  output: NodeJS.WriteStream;
  /** As Ctrl-C does. */
  interrupt(): void;
  /** @returns What the next interruption aborts, and what was before it no longer does. */
  renewInterruption(): AbortSignal;
  /** Sets a variable of this process: for the AWS SDK, which finds credentials there. */
  setVariable(name: string, value: string): void;
}
