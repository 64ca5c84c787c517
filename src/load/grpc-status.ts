/**
 * Finds grpc-status in HPACK header blocks (RFC 7541) and nothing else.
 *
 * The generator has to notice every failed call but cannot pay for decoding headers. Of the dynamic table it keeps one
 * number per entry: the status the entry stands for, or that it is another header. A block of table references only,
 * which is what a server sends for all answers but the first, costs one comparison per byte. Entries are never
 * evicted: references count from the newest, and what the peer evicted it does not refer to.
 */
const otherHeader = -1;
const staticEntries = 61;
/** "grpc-status" as it stands and in RFC 7541's Huffman code. */
const statusName = Buffer.from('grpc-status');
const statusNameHuffman = Buffer.from('9acac8b21234da8f', 'hex');

export class GrpcStatusReader {
  /** Dynamic table, oldest first: grpc-status entries as their code, others as `otherHeader`. */
  readonly #table: number[] = [];
  /** Whether the name of the entry is grpc-status, by position in `#table`. */
  readonly #isStatus: boolean[] = [];
  #bytes: Uint8Array = statusName;
  #position = 0;

  /**
   * Reads one whole header block, in the order in which the connection carries them. Returns the value of grpc-status,
   * or undefined when the block has none.
   */
  read(bytes: Uint8Array, start: number, end: number): number | undefined {
    let status: number | undefined;
    this.#bytes = bytes;
    this.#position = start;
    while (this.#position < end) {
      const value = this.#field();
      if (value !== otherHeader) status = value;
    }
    return status;
  }

  #field(): number {
    const first = this.#bytes[this.#position]!;
    if (first >= 0x80) return this.#entry(this.#integer(0x7f));
    if (first >= 0x40) return this.#literal(0x3f, true);
    if (first >= 0x20) {
      this.#integer(0x1f); // New size of the table.
      return otherHeader;
    }
    return this.#literal(0x0f, false);
  }

  #entry(index: number): number {
    return index <= staticEntries ? otherHeader : (this.#table.at(staticEntries - index) ?? otherHeader);
  }

  #literal(prefix: number, insert: boolean): number {
    const index = this.#integer(prefix);
    const isStatus =
      index === 0 ? this.#isStatusName() : index > staticEntries && this.#isStatus.at(staticEntries - index) === true;
    const value = this.#string(isStatus);
    if (insert) {
      this.#table.push(value);
      this.#isStatus.push(isStatus);
    }
    return value;
  }

  #isStatusName(): boolean {
    const huffman = this.#bytes[this.#position]! >= 0x80;
    const length = this.#integer(0x7f);
    const from = this.#position;
    this.#position += length;
    const wanted = huffman ? statusNameHuffman : statusName;
    return length === wanted.length && wanted.every((byte, i) => byte === this.#bytes[from + i]);
  }

  /** Passes over a string; as a decimal number when it is one that counts. */
  #string(isNumber: boolean): number {
    const huffman = this.#bytes[this.#position]! >= 0x80;
    const length = this.#integer(0x7f);
    const from = this.#position;
    this.#position += length;
    if (!isNumber) return otherHeader;
    const text = this.#bytes.subarray(from, from + length);
    return huffman ? huffmanNumber(text) : Number(Buffer.from(text).toString('latin1'));
  }

  #integer(prefix: number): number {
    let value = this.#bytes[this.#position++]! & prefix;
    if (value < prefix) return value;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.#position++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
}

/** Decimal digits in HPACK's Huffman code: 0 to 2 have five bits, 3 to 9 six; what is left is padding of ones. */
function huffmanNumber(bytes: Uint8Array): number {
  const bits = Array.from(bytes, byte => byte.toString(2).padStart(8, '0')).join('');
  let value = 0;
  for (let position = 0; bits.length - position >= 5; ) {
    const five = Number.parseInt(bits.slice(position, position + 5), 2);
    const six = Number.parseInt(bits.slice(position, position + 6), 2);
    if (five <= 2) {
      value = value * 10 + five;
      position += 5;
    } else if (bits.length - position >= 6 && six >= 0x19 && six <= 0x1f) {
      value = value * 10 + six - 0x19 + 3;
      position += 6;
    } else {
      break;
    }
  }
  return value;
}
