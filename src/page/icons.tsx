/** Small drawings, in the colour of the text around them. They say nothing that words do not. */
import type { JSX } from "preact";
import type { Station } from "./elements.ts";

const PATHS: Record<Station | "disk", string> = {
  application: "M4 5h16v11H4zM2 20h20M8 9l2.5 2L8 13M12.5 13H16",
  fileSystem: "M3 6h6l2 2h10v11H3zM3 11h18",
  hook: "M12 3v9a4 4 0 1 1-8 0M12 3l-2.5 3M12 3l2.5 3M18 5v14M15 19h6",
  helper: "M5 12h9M11 8l4 4-4 4M15 4h5v16h-5M4 8v8",
  daemon: "M12 3a9 9 0 1 0 9 9M12 7v5l3.5 2M17 3.5l3.5 3.5M20.5 3.5 17 7",
  store: "M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0zM4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0",
  disk: "M4 4h16v16H4zM4 9.3h16M4 14.6h16M9.3 4v16M14.6 4v16",
};

export function Icon({ of }: { of: Station | "disk" }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[of]} />
    </svg>
  );
}

/** The way from one element to the next. */
export function Arrow({ isFlowing }: { isFlowing: boolean }): JSX.Element {
  return (
    <svg class={isFlowing ? "arrow is-flowing" : "arrow"} viewBox="0 0 32 16" aria-hidden="true">
      <path class="arrow-line" d="M1 8h26" />
      <path class="arrow-head" d="M24 3l6 5-6 5" />
    </svg>
  );
}
