import { assert } from "../errors.ts";
import { corruptObject } from "./corrupt.ts";

/** Longest varint: 53 bits, 7 in each byte. */
const VARINT_BYTES_MAX = 8;

/** Appends to memory that grows. All integers are little-endian. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written so far. Valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.u8(value & 0xff);
    this.u8(value >>> 8);
  }

  u32(value: number): void {
    assert(value >= 0 && value < 2 ** 32, "a u32 fits its four bytes");
    this.u16(value & 0xffff);
    this.u16(value >>> 16);
  }

  /** LEB128: seven bits a byte, lowest first, the top bit set on all but the last. */
  varint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, "a varint is a whole number from 0 up");
    this.#reserve(VARINT_BYTES_MAX);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
    }
    this.#bytes[this.#length++] = rest;
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.view());
    this.#bytes = larger;
  }
}

/** Reads what a `ByteWriter` wrote, and throws CORRUPT_DATA rather than read past the end. */
export class ByteReader {
  readonly #object: string;
  readonly #bytes: Uint8Array;
  #at = 0;

  /** @param object Key of the object, for messages. */
  constructor(object: string, bytes: Uint8Array) {
    this.#object = object;
    this.#bytes = bytes;
  }

  /** How many bytes were read. */
  get at(): number {
    return this.#at;
  }

  u8(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw this.#endsEarly(1);
    this.#at += 1;
    return value;
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  u32(): number {
    return this.u16() + this.u16() * 0x1_0000;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let length = 1; length <= VARINT_BYTES_MAX; length++) {
      const next = this.u8();
      value += (next & 0x7f) * scale;
      if (next < 0x80) return this.#checkVarint(value, length, next);
      scale *= 0x80;
    }
    throw this.damaged(`a number at byte ${this.#at} has more than 53 bits`);
  }

  /** Lent, not copied. */
  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw this.#endsEarly(length);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Throws unless all was read. */
  expectEnd(): void {
    const rest = this.#bytes.length - this.#at;
    if (rest > 0) throw this.damaged(`it goes on for ${rest} bytes after its end`);
  }

  /** The error to throw for something wrong in this object. */
  damaged(reason: string): Error {
    return corruptObject(this.#object, reason);
  }

  #checkVarint(value: number, length: number, last: number): number {
    const isShortest = length === 1 || last !== 0;
    if (isShortest && Number.isSafeInteger(value)) return value;
    throw this.damaged(`a number before byte ${this.#at} is not written as it should be`);
  }

  #endsEarly(wanted: number): Error {
    const { length } = this.#bytes;
    return this.damaged(`it ends at byte ${length}, ${wanted} more are needed at ${this.#at}`);
  }
}
