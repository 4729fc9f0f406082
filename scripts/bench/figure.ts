/** What a figure is. */

export interface Figure {
  /** A few words. */
  name: string;
  measure: (options: MeasureOptions) => Promise<Value[]>;
}

export interface MeasureOptions {
  /** Fewer and shorter rounds. */
  quick: boolean;
  /** Tells how it goes. */
  say: (line: string) => void;
}

/** One number that came out. */
export interface Value {
  name: string;
  measured: number;
  /** Printed right behind the number: " MiB", or "" for a ratio. */
  unit: string;
  decimals: number;
  /** In the same unit. None: the number only explains another. */
  goal?: { atLeast: number } | { atMost: number };
  /** How far the single measurements lie apart, in words. */
  spread?: string;
}
