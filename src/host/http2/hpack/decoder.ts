/**
 * HPACK decoder (RFC 7541 §3, §6): header block bytes -> fields, in order.
 *
 *     1xxxxxxx  indexed field            01xxxxxx  literal, added to the table
 *     001xxxxx  table size update        0000xxxx  literal, not added        0001xxxx  literal, never indexed
 *
 * Every block must be decoded, also one whose message is refused: the table is state shared with the peer. A failure is
 * a COMPRESSION_ERROR of the connection, after which the decoder must not be used again.
 */
import { DynamicTable } from './dynamic-table.js';
import { HeaderField } from './field.js';
import { huffmanDecode } from './huffman.js';
import { staticTable, staticTableLength } from './static-table.js';

/** Takes the fields of a block one by one. */
export interface FieldSink {
  field(field: HeaderField): void;
}

/** Integers above this end the connection: no index, size or length of ours comes near (RFC 7541 §5.1). */
const integerMax = 2 ** 28;
const nothing = -1;

export class Decoder {
  readonly #table: DynamicTable;
  readonly #tableBytesMax: number;
  /** Decoded octets of the string that is being read; grows to the longest one seen. */
  #scratch = new Uint8Array(256);
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #to = 0;

  /** `tableBytesMax` is the SETTINGS_HEADER_TABLE_SIZE that we announced. */
  constructor(tableBytesMax: number) {
    this.#tableBytesMax = tableBytesMax;
    this.#table = new DynamicTable(tableBytesMax);
  }

  /** Equal versions before and after a block: it left the table alone; the same bytes will mean the same fields. */
  get tableVersion(): number {
    return this.#table.version;
  }

  /** The table's contents, for tests and debugging: newest first. */
  tableFields(): HeaderField[] {
    const fields: HeaderField[] = [];
    for (let offset = 0; offset < this.#table.length; offset += 1) fields.push(this.#table.get(offset)!);
    return fields;
  }

  get tableSizeBytes(): number {
    return this.#table.sizeBytes;
  }

  /** Decodes the whole block `bytes[from, to)`. Returns undefined, or what is wrong with it. */
  decode(bytes: Uint8Array, from: number, to: number, sink: FieldSink): string | undefined {
    this.#bytes = bytes;
    this.#at = from;
    this.#to = to;
    let first = true;
    while (this.#at < to) {
      const octet = bytes[this.#at]!;
      if (octet >= 0x80) {
        const field = this.#lookup(octet === 0xff || octet === 0x80 ? this.#integer(0x7f) : this.#shortIndex(octet));
        if (field === undefined) return 'index outside of the tables';
        sink.field(field);
      } else if (octet >= 0x20 && octet < 0x40) {
        if (!first) return 'table size update behind a field';
        const sizeBytes = this.#integer(0x1f);
        if (sizeBytes === nothing || sizeBytes > this.#tableBytesMax) return 'table size above the limit';
        this.#table.resize(sizeBytes);
        continue;
      } else {
        const field = this.#literal(octet >= 0x40 ? 0x3f : 0x0f);
        if (field === undefined) return 'literal field not decodable';
        if (octet >= 0x40) this.#table.insert(field);
        sink.field(field);
      }
      first = false;
    }
    return undefined;
  }

  /** An index that fits the prefix: the usual case, one octet. */
  #shortIndex(octet: number): number {
    this.#at += 1;
    return octet & 0x7f;
  }

  #lookup(index: number): HeaderField | undefined {
    if (index <= 0) return undefined;
    if (index <= staticTableLength) return staticTable[index];
    return this.#table.get(index - staticTableLength - 1);
  }

  #literal(prefixMax: number): HeaderField | undefined {
    const index = this.#integer(prefixMax);
    if (index === nothing) return undefined;
    const name = index === 0 ? this.#string() : this.#lookup(index)?.name;
    if (name === undefined) return undefined;
    const value = this.#string();
    if (value === undefined) return undefined;
    return new HeaderField(name, value);
  }

  /** Reads an integer with a prefix of the bits in `prefixMax` (RFC 7541 §5.1), or -1: cut short or too large. */
  #integer(prefixMax: number): number {
    const bytes = this.#bytes;
    let value = bytes[this.#at]! & prefixMax;
    this.#at += 1;
    if (value < prefixMax) return value;
    for (let shift = 0; shift <= 28; shift += 7) {
      if (this.#at >= this.#to) return nothing;
      const octet = bytes[this.#at]!;
      this.#at += 1;
      value += (octet & 0x7f) * 2 ** shift;
      if (octet < 0x80) return value <= integerMax ? value : nothing;
    }
    return nothing;
  }

  #string(): string | undefined {
    if (this.#at >= this.#to) return undefined;
    const coded = this.#bytes[this.#at]! >= 0x80;
    const length = this.#integer(0x7f);
    if (length === nothing || length > this.#to - this.#at) return undefined;
    const from = this.#at;
    this.#at += length;
    if (!coded) return octetString(this.#bytes, from, this.#at);
    const decodedMax = Math.floor((length * 8) / 5);
    if (decodedMax > this.#scratch.length) this.#scratch = new Uint8Array(decodedMax * 2);
    const decoded = huffmanDecode(this.#bytes, from, this.#at, this.#scratch);
    return decoded === -1 ? undefined : octetString(this.#scratch, 0, decoded);
  }
}

/** `bytes[from, to)` as a string of one character per octet. */
export function octetString(bytes: Uint8Array, from: number, to: number): string {
  const sliceMax = 4096;
  let text = '';
  for (let at = from; at < to; at += sliceMax) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, Math.min(at + sliceMax, to)) as unknown as number[]);
  }
  return text;
}
