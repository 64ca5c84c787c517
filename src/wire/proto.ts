/**
 * The protobuf wire format: one cursor that reads, one growable buffer that writes. No message is known here.
 *
 *   message = { tag value }        tag = varint(field * 8 + wire type)
 *   wire type 0 varint, 1 eight bytes, 2 length + bytes, 3/4 group (skipped only), 5 four bytes
 *
 * 64-bit integers come in two forms. `int64` reads and writes a number: exact in the safe range, right in sign and
 * magnitude beyond it, which is all that comparing revisions and limits needs. `bigint64`/`uint64` keep all 64 bits.
 * Byte fields are views of what was read: they live as long as the input does.
 *
 * What a peer or client sent may be anything: every malformation throws ProtoError, never another error. The texts are
 * those of etcd's Go decoder. Varints longer than ten bytes are malformed; excess bits of the tenth byte are dropped.
 */
import { assert } from '../base/assert.js';
import { copyBytes, utf8Decode, utf8EncodeInto } from '../base/bytes.js';

/** The bytes are not the message that they should be. `message` is fit to be shown to the client. */
export class ProtoError extends Error {
  override readonly name = 'ProtoError';
}

export const WireType = { Varint: 0, Fixed64: 1, Bytes: 2, StartGroup: 3, EndGroup: 4, Fixed32: 5 } as const;

/** Nesting beyond this is refused: a message of a megabyte could otherwise nest deeper than the stack. */
export const NESTING_MAX = 1000;

const TWO_TO_32 = 4_294_967_296;
const TWO_TO_63 = 2 ** 63;
const FIELD_MAX = 536_870_911;

/**
 * A cursor over bytes[position, end).
 *
 * Loop: `while (reader.more()) switch (reader.tag()) { case 0x0a: key = reader.bytes(); break; ...; default: skip }`.
 */
export class ProtoReader {
  private source: Uint8Array;
  private position: number;
  private end: number;
  private depth = 0;
  // The last varint, as an unsigned low half and a signed high half.
  private low = 0;
  private high = 0;

  constructor(source: Uint8Array, start = 0, end = source.length) {
    this.source = source;
    this.position = start;
    this.end = end;
  }

  /** Whether the present message has another field. */
  more(): boolean {
    return this.position < this.end;
  }

  /** Where the next byte is read, as an index into the source. */
  get offset(): number {
    return this.position;
  }

  /** The next field's tag: number * 8 + wire type. Throws on field number 0 and on a stray end of group. */
  tag(): number {
    const first = this.source[this.position] as number;
    let tag = first;
    if (this.position < this.end && first < 0x80) {
      this.position++;
    } else {
      this.varint();
      tag = (this.high >>> 0) * TWO_TO_32 + this.low;
    }
    if (tag < 8 || tag > FIELD_MAX * 8 + 7) {
      throw new ProtoError(`proto: illegal tag ${Math.floor(tag / 8)} (wire type ${tag % 8})`);
    }
    return tag;
  }

  /** A signed 64-bit varint as a number: exact when safe, else the nearest double. */
  int64(): number {
    const first = this.source[this.position] as number;
    if (this.position < this.end && first < 0x80) {
      this.position++;
      return first;
    }
    this.varint();
    return this.high * TWO_TO_32 + this.low;
  }

  /** A signed 64-bit varint, all bits kept. */
  bigint64(): bigint {
    this.varint();
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  /** An unsigned 64-bit varint, all bits kept. */
  uint64(): bigint {
    this.varint();
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low);
  }

  /** A varint that must be a non-negative safe integer (an index or a term). */
  safeUint64(): number {
    const value = this.int64();
    if (value < 0 || !Number.isSafeInteger(value)) throw new ProtoError('proto: integer overflow');
    return value;
  }

  /** An int32 or enum varint; more than 32 bits are cut off, as Go does. */
  int32(): number {
    this.varint();
    return this.low | 0;
  }

  uint32(): number {
    this.varint();
    return this.low;
  }

  bool(): boolean {
    this.varint();
    return this.low !== 0 || this.high !== 0;
  }

  /** The upper 32 bits, unsigned, of the varint that `varint` read last. */
  get highHalf(): number {
    return this.high >>> 0;
  }

  /** The lower 32 bits, unsigned, of the varint that `varint` read last. */
  get lowHalf(): number {
    return this.low;
  }

  /** A byte field, as a view. */
  bytes(): Uint8Array {
    const length = this.length();
    const { buffer, byteOffset } = this.source;
    // Not subarray: that one would make a Buffer of a Buffer, and costs half as much again.
    const view = new Uint8Array(buffer, byteOffset + this.position, length);
    this.position += length;
    return view;
  }

  string(): string {
    const length = this.length();
    const start = this.position;
    this.position = start + length;
    const text = utf8Decode(this.source, start, start + length);
    if (text === undefined) throw new ProtoError('proto: string field contains invalid UTF-8');
    return text;
  }

  /** Enters an embedded message; pass the result to `leave` when `more()` turned false. */
  enter(): number {
    const length = this.length();
    const outerEnd = this.end;
    this.end = this.position + length;
    this.depth++;
    if (this.depth > NESTING_MAX) throw new ProtoError('proto: exceeded maximum recursion depth');
    return outerEnd;
  }

  leave(outerEnd: number): void {
    assert(this.position === this.end, 'left an embedded message before its end');
    this.end = outerEnd;
    this.depth--;
  }

  /** Moves to the end of the message that was entered, and returns that end as an index into the source. */
  skipRest(): number {
    this.position = this.end;
    return this.end;
  }

  /** Skips the value of an unknown field, groups with all that is in them. */
  skip(tag: number): void {
    const wireType = tag & 7;
    if (wireType === WireType.Varint) this.varint();
    else if (wireType === WireType.Bytes) this.advance(this.length());
    else if (wireType === WireType.Fixed64) this.advance(8);
    else if (wireType === WireType.Fixed32) this.advance(4);
    else if (wireType === WireType.StartGroup) this.skipGroup();
    else if (wireType === WireType.EndGroup) throw new ProtoError('proto: wiretype end group for non-group');
    else throw new ProtoError(`proto: illegal wireType ${wireType}`);
  }

  /**
   * What a decoder does with a tag it did not match: a field of `names` (index = field number) has the wrong wire type,
   * which is an error; any other field is unknown and skipped.
   */
  skipUnknown(tag: number, names: readonly string[]): void {
    const name = names[tag >>> 3];
    if (name === undefined || name === '') this.skip(tag);
    else throw new ProtoError(`proto: wrong wireType = ${tag & 7} for field ${name}`);
  }

  /** The length of what follows; throws when it is not all there. */
  private length(): number {
    const length = this.int64();
    if (length < 0) throw new ProtoError('proto: negative length found during unmarshaling');
    if (length > this.end - this.position) throw new ProtoError('unexpected EOF');
    return length;
  }

  private advance(count: number): void {
    if (count > this.end - this.position) throw new ProtoError('unexpected EOF');
    this.position += count;
  }

  private skipGroup(): void {
    let open = 1;
    while (open > 0) {
      const wireType = this.tag() & 7;
      if (wireType === WireType.StartGroup) open++;
      else if (wireType === WireType.EndGroup) open--;
      else this.skip(wireType);
    }
  }

  /** Reads a varint of up to ten bytes into `low` and `high`. */
  varint(): void {
    const { source, end } = this;
    let position = this.position;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (shift >= 64) throw new ProtoError('proto: integer overflow');
      if (position >= end) throw new ProtoError('unexpected EOF');
      const byte = source[position++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) {
        low |= bits << shift;
      } else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else {
        high |= bits << (shift - 32);
      }
      if (byte < 0x80) break;
    }
    this.position = position;
    this.low = low >>> 0;
    this.high = high | 0;
  }
}

/** Bytes that a varint of the unsigned pair or the non-negative safe integer takes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let size = 5;
  for (let rest = value / 0x8_0000_0000; rest >= 1; rest /= 128) size++;
  return size;
}

/** A larger slab, of one very large message, is not kept for the next. */
const keptSlabBytesMax = 8 * 1024 * 1024;

/**
 * Writes messages one behind the other into slabs of memory: `reset()`, write, then `finish()` hands the message out.
 *
 *   slab  [ finished | finished | start … position | free ]
 *
 * A finished message is a view of the slab that nobody writes again: it lives as long as it is wanted, without a copy.
 * It keeps its slab alive, and its `buffer` holds strangers' bytes: copy what is kept for long or sent to be cloned.
 * Small arrays of their own cost up to ten times as much (an allocation and a finaliser each). A message that is copied
 * at once may be had by `view()` instead: the next one is written over it, so that large ones leave no slabs behind.
 *
 * Methods named ...Field write tag and value, and nothing at all for proto3's zero value, unless told otherwise.
 */
export class ProtoWriter {
  private buffer: Uint8Array;
  private start = 0;
  private position = 0;

  constructor(private readonly slabBytes = 65_536) {
    this.buffer = new Uint8Array(slabBytes);
  }

  /** Bytes written since the last reset. */
  get length(): number {
    return this.position - this.start;
  }

  /** Begins a message; what was written and not finished is dropped. */
  reset(): this {
    if (this.buffer.length > keptSlabBytesMax) {
      this.buffer = new Uint8Array(this.slabBytes);
      this.start = 0;
    }
    this.position = this.start;
    return this;
  }

  /** The message, until the next one is begun. */
  view(): Uint8Array {
    return this.buffer.subarray(this.start, this.position);
  }

  /** The message, for good. */
  finish(): Uint8Array {
    const message = new Uint8Array(this.buffer.buffer as ArrayBuffer, this.start, this.position - this.start);
    this.start = this.position;
    return message;
  }

  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.position++] = value;
  }

  /** A non-negative safe integer. */
  varint(value: number): void {
    this.reserve(10);
    const buffer = this.buffer;
    let position = this.position;
    let rest = value;
    while (rest > 0x7fff_ffff) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[position++] = rest;
    this.position = position;
  }

  /** A 64-bit varint given as unsigned 32-bit halves. */
  varint64(high: number, low: number): void {
    this.reserve(10);
    const buffer = this.buffer;
    let position = this.position;
    let restLow = low >>> 0;
    let restHigh = high >>> 0;
    while (restHigh !== 0 || restLow > 0x7f) {
      buffer[position++] = (restLow & 0x7f) | 0x80;
      restLow = ((restLow >>> 7) | (restHigh << 25)) >>> 0;
      restHigh >>>= 7;
    }
    buffer[position++] = restLow;
    this.position = position;
  }

  /** A signed integer, clamped to 64 bits; negative ones take ten bytes. */
  int64(value: number): void {
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) this.varint(value);
    else if (value >= TWO_TO_63) this.varint64(0x7fff_ffff, 0xffff_ffff);
    else if (value < -TWO_TO_63) this.varint64(0x8000_0000, 0);
    else this.varint64(Math.floor(value / TWO_TO_32), value - Math.floor(value / TWO_TO_32) * TWO_TO_32);
  }

  /** The low 64 bits of `value`: signed and unsigned alike. */
  bigint64(value: bigint): void {
    this.varint64(Number((value >> 32n) & 0xffff_ffffn), Number(value & 0xffff_ffffn));
  }

  /** Bytes as they are, without tag or length. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    copyBytes(bytes, this.buffer, this.position);
    this.position += bytes.length;
  }

  tag(field: number, wireType: number): void {
    this.varint(field * 8 + wireType);
  }

  int64Field(field: number, value: number): void {
    if (value === 0) return;
    this.tag(field, WireType.Varint);
    this.int64(value);
  }

  bigint64Field(field: number, value: bigint): void {
    if (value === 0n) return;
    this.tag(field, WireType.Varint);
    this.bigint64(value);
  }

  boolField(field: number, value: boolean): void {
    if (!value) return;
    this.tag(field, WireType.Varint);
    this.byte(1);
  }

  bytesField(field: number, value: Uint8Array): void {
    if (value.length > 0) this.messageField(field, value);
  }

  stringField(field: number, value: string): void {
    if (value !== '' && !this.shortAsciiField(field, value)) this.textField(field, value);
  }

  /** Writes a text behind a length of the size it has if all is ASCII, and moves it in the rare case that it is not. */
  private textField(field: number, value: string): void {
    this.tag(field, WireType.Bytes);
    this.reserve(10 + 3 * value.length);
    const guessed = varintSize(value.length);
    const written = utf8EncodeInto(value, this.buffer, this.position + guessed);
    const size = varintSize(written);
    if (size !== guessed) {
      const from = this.position + guessed;
      this.buffer.copyWithin(this.position + size, from, from + written);
    }
    this.varint(written);
    this.position += written;
  }

  /** Writes a text of up to 64 ASCII characters without a detour; false, and nothing written, when it is not one. */
  private shortAsciiField(field: number, value: string): boolean {
    const length = value.length;
    if (length > 64) return false;
    const former = this.length;
    this.tag(field, WireType.Bytes);
    this.byte(length);
    this.reserve(length);
    const { buffer, position } = this;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) {
        this.position = this.start + former;
        return false;
      }
      buffer[position + i] = code;
    }
    this.position = position + length;
    return true;
  }

  /** Length-delimited bytes, written even when empty: an embedded message that is already encoded. */
  messageField(field: number, encoded: Uint8Array): void {
    this.tag(field, WireType.Bytes);
    this.varint(encoded.length);
    this.raw(encoded);
  }

  /** Begins an embedded message whose length is not known yet; pass the result to `close`. */
  open(field: number): number {
    this.tag(field, WireType.Bytes);
    this.byte(0);
    return this.position - this.start;
  }

  /** Ends the message: writes its length, moving it when that takes more than one byte. */
  close(opened: number): void {
    const length = this.length - opened;
    if (length < 0x80) {
      this.buffer[this.start + opened - 1] = length;
      return;
    }
    // Room for the longest varint at once: below, a growing buffer would lose what lies behind `position`.
    this.reserve(10);
    const extra = varintSize(length) - 1;
    const bodyStart = this.start + opened;
    this.buffer.copyWithin(bodyStart + extra, bodyStart, this.position);
    this.position = bodyStart - 1;
    this.varint(length);
    this.position += length;
  }

  /** Makes room; a slab that is too small for the message begun is left behind with the finished ones. */
  private reserve(count: number): void {
    if (this.position + count <= this.buffer.length) return;
    const written = this.position - this.start;
    const slab = new Uint8Array(Math.max(this.slabBytes, 2 * (written + count)));
    slab.set(this.buffer.subarray(this.start, this.position));
    this.buffer = slab;
    this.start = 0;
    this.position = written;
  }
}
