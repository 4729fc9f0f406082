/** Figure 9 as a living picture: the way of a written block, from the application to the store. */
import type { ComponentChildren, JSX } from "preact";
import type { DiskDocument } from "../api/schemas.ts";
import { formatBytes } from "../core/units.ts";
import {
  type ElementId,
  isFlushing,
  isRestoring,
  isWriting,
  lineOf,
  type Station,
  TITLES,
} from "./elements.ts";
import { Arrow, Icon } from "./icons.tsx";
import { MapGrid, MapLegend } from "./map_grid.tsx";
import type { PageState } from "./state.ts";

export const PANEL_ID = "panel";

interface PictureProps {
  state: PageState;
  selected: ElementId | undefined;
  onSelect: (id: ElementId) => void;
}

export function Picture({ state, selected, onSelect }: PictureProps): JSX.Element {
  const writing = isWriting(state);
  const flushing = isFlushing(state);
  const station = (id: Station): JSX.Element => (
    <ElementButton id={id} title={TITLES[id]} {...{ selected, onSelect }}>
      <Icon of={id} />
      <span class="element-name">{TITLES[id]}</span>
      <span class="element-line">{lineOf(id, state)}</span>
    </ElementButton>
  );
  return (
    <section class="picture" aria-label="The way of a written block, to the store">
      <Zone name="Your programs">{station("application")}</Zone>
      <Arrow isFlowing={writing} />
      <Zone name="Linux kernel" isWide>
        {station("fileSystem")}
        <Arrow isFlowing={writing} />
        {station("hook")}
        <Arrow isFlowing={writing} />
        <div class="maps">
          {(state.status?.disks ?? []).map((disk) => (
            <DiskButton key={disk.device} {...{ disk, state, selected, onSelect }} />
          ))}
          <MapLegend />
        </div>
      </Zone>
      <Arrow isFlowing={flushing} />
      <Zone name="ibackup">
        {station("helper")}
        <Arrow isFlowing={flushing} />
        {station("daemon")}
      </Zone>
      <Arrow isFlowing={flushing || isRestoring(state)} />
      <Zone name="Elsewhere">{station("store")}</Zone>
    </section>
  );
}

interface ZoneProps {
  name: string;
  isWide?: boolean;
  children: ComponentChildren;
}

function Zone({ name, isWide = false, children }: ZoneProps): JSX.Element {
  return (
    <div class={isWide ? "zone is-wide" : "zone"}>
      <h2 class="zone-name">{name}</h2>
      <div class="zone-elements">{children}</div>
    </div>
  );
}

interface ElementButtonProps extends Omit<PictureProps, "state"> {
  id: ElementId;
  title: string;
  children: ComponentChildren;
}

function ElementButton(props: ElementButtonProps): JSX.Element {
  const { id, selected, onSelect, children } = props;
  const isOpen = selected === id;
  return (
    <button
      type="button"
      class={id.startsWith("disk:") ? "element is-disk" : "element"}
      data-element={id}
      aria-expanded={isOpen}
      aria-controls={PANEL_ID}
      onClick={() => onSelect(id)}
    >
      {children}
    </button>
  );
}

interface DiskButtonProps extends PictureProps {
  disk: DiskDocument;
}

function DiskButton({ disk, state, selected, onSelect }: DiskButtonProps): JSX.Element {
  const map = disk.isTracked ? state.maps[disk.device] : undefined;
  const { device, sizeBytes } = disk;
  return (
    <ElementButton id={`disk:${device}`} title={device} {...{ selected, onSelect }}>
      <span class="disk-head">
        <span class="element-name">{disk.diskName ?? device}</span>
        <span class="element-line">
          {changedOf(disk)}
          {sizeBytes === null ? "" : ` of ${formatBytes(sizeBytes)}`}
        </span>
      </span>
      {map === undefined ? <span class="no-map">no map: not tracked</span> : <MapGrid map={map} />}
    </ElementButton>
  );
}

function changedOf({ changedBlocks, blockBytes }: DiskDocument): string {
  if (changedBlocks === null || blockBytes === null) return "changes unknown";
  return `${formatBytes(changedBlocks * blockBytes)} changed`;
}
