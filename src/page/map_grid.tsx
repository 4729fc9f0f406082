/** The changed-block map of one disk, as a grid. */
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { cellsByLevel, columnsFor, type DiskMap, LEVEL_MAX, squaresPath } from "./disk_map.ts";

/** One path for each level, so that a thousand squares cost six elements. */
export function MapGrid({ map }: { map: DiskMap }): JSX.Element {
  const columns = columnsFor(map.cells.length, useIsWide() ? 16 : 4);
  const rows = Math.ceil(map.cells.length / columns);
  const levels = cellsByLevel(map);
  const touched = map.cells.length - (levels[0]?.length ?? 0);
  return (
    <svg
      class="map"
      viewBox={`0 0 ${columns} ${rows}`}
      aria-hidden="true"
      data-cells={map.cells.length}
      data-changed-cells={touched}
    >
      {levels.map((cells, level) => (
        <path
          key={`level-${LEVEL_MAX}-${level}`}
          class={`level-${level}`}
          d={squaresPath(cells, columns)}
        />
      ))}
      <path class="fresh" d={squaresPath([...map.hits.keys()], columns)} />
    </svg>
  );
}

/** On a very wide screen a map as high as elsewhere is lower, and has more columns. */
function useIsWide(): boolean {
  const query = useMemo(() => matchMedia("(min-width: 120em)"), []);
  const [isWide, setWide] = useState(query.matches);
  useEffect(() => {
    const update = (): void => setWide(query.matches);
    query.addEventListener("change", update);
    return () => query.removeEventListener("change", update);
  }, [query]);
  return isWide;
}

export function MapLegend(): JSX.Element {
  const levels = Array.from({ length: LEVEL_MAX + 1 }, (_, level) => level);
  return (
    <p class="legend">
      <span>unchanged</span>
      <svg class="legend-scale" viewBox={`0 0 ${LEVEL_MAX + 1} 1`} aria-hidden="true">
        {levels.map((level) => (
          <path key={level} class={`level-${level}`} d={`M${level} 0h.86v.86h-.86z`} />
        ))}
      </svg>
      <span>all changed</span>
    </p>
  );
}
