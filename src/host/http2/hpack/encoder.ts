/**
 * HPACK encoder (RFC 7541 §6) for a server whose replies repeat: few fixed header sets, and now and then an error text.
 *
 * A set's fields that are worth a place in the peer's table (`indexed`) are sent once as literals that enter the
 * table, then as one octet each. Everything else goes as a literal that does not enter it. The bytes of a set are
 * remembered as long as the table stays the same, so a reply's header block is a two-byte copy.
 *
 * Blocks must leave in the order in which they were encoded: the peer's table follows them one by one.
 */
import { DynamicTable } from './dynamic-table.js';
import { HeaderField } from './field.js';
import { huffmanEncode, huffmanLength } from './huffman.js';
import { staticFieldIndex, staticNameIndex, staticTableLength } from './static-table.js';

/** Size of a table that nobody has changed (RFC 9113 §6.5.2); we never use more, whatever the peer offers. */
export const headerTableBytesDefault = 4096;

/** One field of a set. `indexed`: worth a place in the peer's table. */
export interface OutgoingField {
  readonly field: HeaderField;
  readonly indexed: boolean;
}

/** A list of fields to send. */
export class HeaderSet {
  readonly fields: readonly OutgoingField[];
  /** Sent again and again, and made once at module load: encoders remember its bytes. */
  readonly lasting: boolean;

  /** `indexed` holds the names whose fields should enter the peer's table. */
  constructor(
    fields: readonly (readonly [name: string, value: string])[],
    indexed: readonly string[] = [],
    lasting = false,
  ) {
    this.lasting = lasting;
    this.fields = fields.map(([name, value]) => ({
      field: new HeaderField(name, value),
      indexed: indexed.includes(name),
    }));
  }
}

interface RememberedBlock {
  readonly bytes: Uint8Array;
  readonly version: number;
}

export class Encoder {
  readonly #table = new DynamicTable(headerTableBytesDefault);
  readonly #remembered = new Map<HeaderSet, RememberedBlock>();
  #scratch = new Uint8Array(512);
  #length = 0;
  /** Table sizes that the next block must announce (RFC 7541 §4.2); -1 = none. */
  #announceLowest = -1;
  #announceLast = -1;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE: takes effect with the next block. */
  setTableBytesMax(peerBytesMax: number): void {
    const bytes = Math.min(peerBytesMax, headerTableBytesDefault);
    const current = this.#announceLast === -1 ? this.#table.capacityBytes : this.#announceLast;
    if (bytes === current) return;
    this.#announceLowest = this.#announceLowest === -1 ? bytes : Math.min(this.#announceLowest, bytes);
    this.#announceLast = bytes;
  }

  /** The block of a set; the bytes stay the encoder's and are valid until the next call. */
  block(set: HeaderSet): Uint8Array {
    if (!set.lasting) return this.#encode(set.fields);
    const remembered = this.#remembered.get(set);
    if (remembered !== undefined && remembered.version === this.#table.version && this.#announceLast === -1) {
      return remembered.bytes;
    }
    const stable = this.#announceLast === -1;
    const version = this.#table.version;
    const bytes = this.#encode(set.fields);
    if (!stable || version !== this.#table.version) return bytes;
    const copy = bytes.slice();
    this.#remembered.set(set, { bytes: copy, version });
    return copy;
  }

  #encode(fields: readonly OutgoingField[]): Uint8Array {
    this.#length = 0;
    if (this.#announceLast !== -1) this.#announce();
    for (const { field, indexed } of fields) this.#field(field, indexed);
    return this.#scratch.subarray(0, this.#length);
  }

  #announce(): void {
    for (const bytes of new Set([this.#announceLowest, this.#announceLast])) {
      this.#integer(0x20, 0x1f, bytes);
      this.#table.resize(bytes);
    }
    this.#announceLowest = -1;
    this.#announceLast = -1;
  }

  #field(field: HeaderField, indexed: boolean) {
    const whole = staticFieldIndex(field.name, field.value);
    if (whole !== 0) return this.#integer(0x80, 0x7f, whole);
    if (!indexed) return this.#literal(0x00, 0x0f, field);
    for (let offset = 0; offset < this.#table.length; offset += 1) {
      const held = this.#table.get(offset);
      if (held?.name === field.name && held.value === field.value) {
        return this.#integer(0x80, 0x7f, staticTableLength + 1 + offset);
      }
    }
    if (field.sizeBytes > this.#table.capacityBytes) return this.#literal(0x00, 0x0f, field);
    this.#literal(0x40, 0x3f, field);
    this.#table.insert(field);
  }

  #literal(pattern: number, prefixMax: number, field: HeaderField): void {
    const name = staticNameIndex(field.name);
    this.#integer(pattern, prefixMax, name);
    if (name === 0) this.#string(field.name);
    this.#string(field.value);
  }

  #integer(pattern: number, prefixMax: number, value: number): void {
    this.#room(6);
    const scratch = this.#scratch;
    if (value < prefixMax) {
      scratch[this.#length++] = pattern | value;
      return;
    }
    scratch[this.#length++] = pattern | prefixMax;
    let rest = value - prefixMax;
    while (rest >= 0x80) {
      scratch[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    scratch[this.#length++] = rest;
  }

  #string(text: string): void {
    const coded = huffmanLength(text);
    if (coded < text.length) {
      this.#integer(0x80, 0x7f, coded);
      this.#room(coded);
      this.#length = huffmanEncode(text, this.#scratch, this.#length);
      return;
    }
    this.#integer(0x00, 0x7f, text.length);
    this.#room(text.length);
    for (let at = 0; at < text.length; at += 1) this.#scratch[this.#length + at] = text.charCodeAt(at);
    this.#length += text.length;
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#scratch.length) return;
    const grown = new Uint8Array(Math.max(this.#scratch.length * 2, this.#length + bytes));
    grown.set(this.#scratch.subarray(0, this.#length));
    this.#scratch = grown;
  }
}
