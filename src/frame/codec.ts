/**
 * Frames to bytes and back. On the wire: header, payload and CRC-32C of both, byte-stuffed so
 * that no 0x0A is left (`stuffing.ts`), then one 0x0A. What each frame holds is in `layout.ts`.
 *
 * A reader never guesses. Whatever does not decode to the last bit is reported as damage, and
 * reading goes on behind the next newline.
 */
import { crc32c } from "../core/crc32c.ts";
import { assert } from "../errors.ts";
import {
  type FieldType,
  FRAME_VERSION,
  FRAMES,
  type FrameLayout,
  HEADER,
  PAYLOAD_BYTES_MAX,
  type Tail,
} from "./layout.ts";
import { NEWLINE, stuff, stuffedLengthMax, unstuff } from "./stuffing.ts";

export type FrameName = keyof typeof FRAMES;

type Fields = Readonly<Record<string, FieldType>>;
type ValueOf<F extends FieldType> = F extends "bits64" ? bigint : number;
type ValuesOf<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };
type TailOf<T extends Tail> = T extends "text"
  ? string
  : T extends "words"
    ? Uint8Array
    : T extends Fields
      ? readonly ValuesOf<T>[]
      : never;

/** A frame of one kind. `request` is repeated in the answers to it; 0 in an event. */
export type FrameOf<N extends FrameName> = {
  readonly name: N;
  readonly request: number;
  readonly fields: ValuesOf<(typeof FRAMES)[N]["fields"]>;
} & ((typeof FRAMES)[N] extends { tail: infer T extends Tail }
  ? { readonly tail: TailOf<T> }
  : { readonly tail?: undefined });

/** Any frame; `name` tells them apart. */
export type Frame = { [N in FrameName]: FrameOf<N> }[FrameName];

/** Why bytes were not a frame. */
export type DamageReason =
  | "empty"
  | "too long"
  | "bad stuffing"
  | "bad length"
  | "bad checksum"
  | "another version"
  | "unknown type"
  | "bad payload"
  | "cut off";

/** What a reader found: a frame as it was sent, or bytes that are none. */
export type Reading =
  | { readonly kind: "frame"; readonly frame: Frame }
  | { readonly kind: "damage"; readonly reason: DamageReason };

const HEADER_BYTES = bytesOf(HEADER);
const CRC_BYTES = 4;
const RAW_BYTES_MAX = HEADER_BYTES + PAYLOAD_BYTES_MAX + CRC_BYTES;
const STUFFED_BYTES_MAX = stuffedLengthMax(RAW_BYTES_MAX);

const LAYOUTS: Readonly<Record<FrameName, FrameLayout>> = FRAMES;
const NAMES = new Map(
  (Object.keys(FRAMES) as FrameName[]).map((name) => [LAYOUTS[name].type, name] as const),
);

/** The bytes of one frame, its newline included. A value that does not fit is our bug. */
export function encodeFrame(frame: Frame): Uint8Array {
  const { type, fields, tail } = LAYOUTS[frame.name];
  const payload = encodePayload(fields, tail, frame);
  assert(payload.length <= PAYLOAD_BYTES_MAX, "a payload fits in a frame");

  const raw = new Uint8Array(HEADER_BYTES + payload.length + CRC_BYTES);
  const { length } = payload;
  const header = { length, type, version: FRAME_VERSION, request: frame.request };
  writeFields(viewOf(raw), HEADER, header);
  raw.set(payload, HEADER_BYTES);
  const crcAt = raw.length - CRC_BYTES;
  viewOf(raw).setUint32(crcAt, crc32c(raw.subarray(0, crcAt)), true);
  return stuff(raw);
}

/** Splits a stream of bytes into frames. Holds at most one frame of bytes back. */
export class FrameReader {
  readonly #partial = new Uint8Array(STUFFED_BYTES_MAX);
  #partialLength = 0;
  /** More bytes than any frame has came without a newline. */
  #tooLong = false;

  /** All frames, and all damage, that these bytes complete, in their order. */
  push(bytes: Uint8Array): Reading[] {
    const readings: Reading[] = [];
    let at = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, at);
      if (end < 0) break;
      readings.push(this.#finish(bytes.subarray(at, end)));
      at = end + 1;
    }
    this.#keep(bytes.subarray(at));
    return readings;
  }

  /** To be called at the end of the stream: bytes without a newline are a frame cut off. */
  end(): Reading[] {
    if (this.#partialLength === 0 && !this.#tooLong) return [];
    this.#reset();
    return [damage("cut off")];
  }

  #finish(rest: Uint8Array): Reading {
    if (this.#partialLength === 0 && !this.#tooLong) return decodeStuffed(rest);
    this.#keep(rest);
    const reading = this.#tooLong
      ? damage("too long")
      : decodeStuffed(this.#partial.subarray(0, this.#partialLength));
    this.#reset();
    return reading;
  }

  #keep(bytes: Uint8Array): void {
    if (this.#partialLength + bytes.length > STUFFED_BYTES_MAX) this.#tooLong = true;
    if (this.#tooLong) return;
    this.#partial.set(bytes, this.#partialLength);
    this.#partialLength += bytes.length;
  }

  #reset(): void {
    this.#partialLength = 0;
    this.#tooLong = false;
  }
}

function decodeStuffed(stuffed: Uint8Array): Reading {
  if (stuffed.length === 0) return damage("empty");
  if (stuffed.length > STUFFED_BYTES_MAX) return damage("too long");
  const raw = unstuff(stuffed);
  if (raw === undefined) return damage("bad stuffing");
  return decodeRaw(raw);
}

function decodeRaw(raw: Uint8Array): Reading {
  if (raw.length < HEADER_BYTES + CRC_BYTES) return damage("bad length");
  const view = viewOf(raw);
  const crcAt = raw.length - CRC_BYTES;
  if (view.getUint32(crcAt, true) !== crc32c(raw.subarray(0, crcAt))) return damage("bad checksum");

  const header = readFields(view, HEADER);
  if (header === undefined || header.length !== crcAt - HEADER_BYTES) return damage("bad length");
  if (header.version !== FRAME_VERSION) return damage("another version");
  const name = NAMES.get(header.type);
  if (name === undefined) return damage("unknown type");

  const payload = raw.subarray(HEADER_BYTES, crcAt);
  const content = decodePayload(LAYOUTS[name], payload);
  if (content === undefined) return damage("bad payload");
  // The table that gave the layout is the one that the types of Frame come from.
  return { kind: "frame", frame: { name, request: header.request, ...content } as Frame };
}

function damage(reason: DamageReason): Reading {
  return { kind: "damage", reason };
}

type AnyValues = Readonly<Record<string, number | bigint>>;

interface Content {
  readonly fields: AnyValues;
  readonly tail?: string | Uint8Array | readonly AnyValues[] | undefined;
}

function encodePayload(fields: Fields, layout: Tail | undefined, content: Content): Uint8Array {
  const tail = encodeTail(layout, content.tail);
  const payload = new Uint8Array(bytesOf(fields) + tail.length);
  writeFields(viewOf(payload), fields, content.fields);
  payload.set(tail, bytesOf(fields));
  return payload;
}

function encodeTail(layout: Tail | undefined, tail: Content["tail"]): Uint8Array {
  if (layout === undefined || tail === undefined) return new Uint8Array(0);
  if (typeof tail === "string") return new TextEncoder().encode(tail);
  if (tail instanceof Uint8Array) return tail;
  assert(typeof layout === "object", "records have a layout");
  const recordBytes = bytesOf(layout);
  const bytes = new Uint8Array(tail.length * recordBytes);
  for (const [index, record] of tail.entries()) {
    const at = index * recordBytes;
    writeFields(viewOf(bytes.subarray(at, at + recordBytes)), layout, record);
  }
  return bytes;
}

function decodePayload(layout: FrameLayout, payload: Uint8Array): Content | undefined {
  const fixedBytes = bytesOf(layout.fields);
  if (payload.length < fixedBytes) return undefined;
  const fields = readFields(viewOf(payload), layout.fields);
  if (fields === undefined) return undefined;

  const rest = payload.subarray(fixedBytes);
  if (layout.tail === undefined) return rest.length === 0 ? { fields } : undefined;
  if (layout.tail === "text") return { fields, tail: new TextDecoder().decode(rest) };
  if (layout.tail === "words") return rest.length % 8 === 0 ? { fields, tail: rest } : undefined;
  const records = decodeRecords(layout.tail, rest);
  return records && { fields, tail: records };
}

function decodeRecords(layout: Fields, bytes: Uint8Array): AnyValues[] | undefined {
  const recordBytes = bytesOf(layout);
  if (bytes.length % recordBytes !== 0) return undefined;
  const records: AnyValues[] = [];
  for (let at = 0; at < bytes.length; at += recordBytes) {
    const record = readFields(viewOf(bytes.subarray(at, at + recordBytes)), layout);
    if (record === undefined) return undefined;
    records.push(record);
  }
  return records;
}

function bytesOf(fields: Fields): number {
  return Object.values(fields).reduce((sum, type) => sum + (type === "u32" ? 4 : 8), 0);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeFields(view: DataView, fields: Fields, values: AnyValues): void {
  let at = 0;
  for (const [name, type] of Object.entries(fields)) {
    const value = BigInt(values[name] ?? 0);
    assert(value >= 0n && value < 1n << (type === "u32" ? 32n : 64n), `${name} fits in ${type}`);
    if (type === "u32") view.setUint32(at, Number(value), true);
    else view.setBigUint64(at, value, true);
    at += type === "u32" ? 4 : 8;
  }
}

/** Undefined when a u64 is no safe integer. The view may be longer than the fields. */
function readFields<F extends Fields>(view: DataView, fields: F): ValuesOf<F> | undefined {
  const values: Record<string, number | bigint> = {};
  let at = 0;
  for (const [name, type] of Object.entries(fields)) {
    const value = type === "u32" ? view.getUint32(at, true) : view.getBigUint64(at, true);
    if (type === "u64" && value > Number.MAX_SAFE_INTEGER) return undefined;
    values[name] = type === "u64" ? Number(value) : value;
    at += type === "u32" ? 4 : 8;
  }
  return values as ValuesOf<F>;
}
