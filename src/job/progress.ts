/** How far a job has come. The command line draws a bar on a terminal; a daemon may publish it. */
export interface Progress {
  /**
   * Begins a stretch of work; ends the one before, if any.
   * @param label What is being done, in lower case: "reading /dev/vda".
   * @param totalBytes Bytes to go through; 0 when nobody knows.
   */
  begin(label: string, totalBytes: number): void;
  /** So many more bytes are done, not how many in all. */
  advance(bytes: number): void;
  /** Says something that the user should see, without a full stop. Ends no stretch. */
  message(text: string): void;
  end(): void;
}

/** For jobs whose progress nobody watches. */
export const SILENT_PROGRESS: Progress = {
  begin: () => undefined,
  advance: () => undefined,
  message: () => undefined,
  end: () => undefined,
};
