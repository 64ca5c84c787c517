/**
 * Splits a body into the JSON objects that stand in it one behind the other, as its bytes arrive.
 *
 *     whole in the chunk -> handed on where it lies
 *     cut by the chunk   -> collected in blocks, up to `bytesMax`, and put together when it is whole
 *
 * What is never whole costs hardly more memory than it has bytes: it is garbage, which keeps the collector busy.
 *
 * It also bounds what reading an object may cost, for that holds up everybody: its length, and its marks, which are the
 * brackets, colons and commas outside strings. 32768 marks are four thousand puts in one transaction, or some
 * milliseconds of the main thread.
 *
 * It only finds where an object ends: it counts brackets outside strings. Whether the object is JSON is its reader's
 * business. Structural characters are ASCII, so UTF-8 needs no decoding for that.
 */
import { EMPTY_BYTES } from '../../base/bytes.js';

export interface ObjectSink {
  /** An object, valid during the call. False: read no further. */
  onObject(bytes: Uint8Array): boolean;
  /** An object is longer than allowed: `length` so far. Nothing further is read. */
  onTooLarge(length: number): void;
  /** An object has more than so many marks. Nothing further is read. */
  onTooMany(marksMax: number): void;
  /** Something else than an object begins with this character. Nothing further is read. */
  onOther(character: string): void;
}

/** Many small parts share a block of up to this size. */
const blockBytesMax = 16 * 1024;
const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const marksMax = 32_768;

export class JsonSplitter {
  readonly #bytesMax: number;
  /** The object as far as it has arrived, when a chunk cut it: full blocks, and the last one. */
  #held: Uint8Array[] = [];
  #last: Uint8Array = EMPTY_BYTES;
  /** How much of the last block is full. */
  #lastLength = 0;
  #heldLength = 0;
  #depth = 0;
  /** Brackets, colons and commas of the object so far. */
  #marks = 0;
  #inString = false;
  /** The next byte is escaped. */
  #escaped = false;

  /** `bytesMax` bounds the length of one object. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** True between the first and the last byte of an object. */
  get midObject(): boolean {
    return this.#depth > 0;
  }

  /** Bytes of an object that is not whole. */
  get heldBytes(): number {
    return this.#heldLength;
  }

  /** Reads `bytes[from, to)`. */
  read(bytes: Uint8Array, sink: ObjectSink): void {
    let start = 0;
    let at = 0;
    while (at < bytes.length) {
      if (this.#depth === 0) {
        start = skipBlanks(bytes, at);
        if (start === bytes.length) return;
        if (bytes[start] !== 0x7b) return sink.onOther(String.fromCharCode(bytes[start]!));
        at = start;
        this.#marks = 0;
      }
      at = this.#scan(bytes, at);
      if (this.#marks > marksMax) return sink.onTooMany(marksMax);
      const length = this.#heldLength + at - start;
      if (length > this.#bytesMax) return sink.onTooLarge(length);
      if (this.#depth > 0) return this.#hold(bytes.subarray(start, at));
      if (!sink.onObject(this.#whole(bytes.subarray(start, at)))) return;
      start = at;
    }
  }

  /** Goes on to behind the object's last byte, or to the end of what is there. */
  #scan(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      if (this.#inString) {
        at = this.#skipString(bytes, at);
        continue;
      }
      const byte = bytes[at++];
      if (byte === quote) this.#inString = true;
      else if (byte === comma || byte === colon) this.#marks += 1;
      else if (byte === 0x7b || byte === 0x5b) {
        this.#depth += 1;
        this.#marks += 1;
      } else if (byte === 0x7d || byte === 0x5d) {
        this.#depth -= 1;
        if (this.#depth === 0) return at;
      }
    }
    return at;
  }

  /** Goes on to behind the string's last quote. */
  #skipString(bytes: Uint8Array, from: number): number {
    let at = from;
    if (this.#escaped) at += 1;
    this.#escaped = false;
    // Values are long: nothing but these two is looked for.
    while (at < bytes.length) {
      const byte = bytes[at++];
      if (byte === quote) {
        this.#inString = false;
        return at;
      }
      if (byte !== backslash) continue;
      this.#escaped = at === bytes.length;
      at += 1;
    }
    return bytes.length;
  }

  /** The object, of which `rest` is the part in this chunk. */
  #whole(rest: Uint8Array): Uint8Array {
    if (this.#heldLength === 0) return rest;
    this.#hold(rest);
    const whole = Buffer.concat([...this.#held, this.#last.subarray(0, this.#lastLength)]);
    this.#held = [];
    this.#last = EMPTY_BYTES;
    this.#lastLength = 0;
    this.#heldLength = 0;
    return whole;
  }

  #hold(part: Uint8Array): void {
    const fitting = part.subarray(0, this.#last.length - this.#lastLength);
    this.#last.set(fitting, this.#lastLength);
    this.#lastLength += fitting.length;
    this.#heldLength += fitting.length;
    if (fitting.length === part.length) return;
    const rest = part.subarray(fitting.length);
    this.#held.push(this.#last);
    this.#last = new Uint8Array(Math.max(rest.length, Math.min(this.#heldLength, blockBytesMax)));
    this.#last.set(rest);
    this.#lastLength = rest.length;
    this.#heldLength += rest.length;
  }
}

function skipBlanks(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && (bytes[at] === 0x20 || (bytes[at]! >= 0x09 && bytes[at]! <= 0x0d))) at++;
  return at;
}
