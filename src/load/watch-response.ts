/**
 * Reads of a WatchResponse what a benchmark has to know, in place and without an object per event.
 *
 * Fields may come in any order, as protobuf allows: a server may put the id of the watcher behind the events. Of an
 * event the revision and the first four bytes of the value are read; those are the number of the put.
 */
const Tag = { WatchId: 0x10, Created: 0x18, Cancelled: 0x20, Event: 0x5a } as const;
const EventTag = { KeyValue: 0x12 } as const;
const KeyValueTag = { ModRevision: 0x18, Value: 0x2a } as const;
const WireType = { Varint: 0, Bytes: 2 } as const;

export class WatchResponseReader {
  watchId = 0;
  created = false;
  cancelled = false;
  events = 0;
  /** Of the events, in their order; the first `events` places count. */
  readonly revisions: number[] = [];
  readonly numbers: number[] = [];
  #bytes: Buffer = Buffer.alloc(0);
  #position = 0;

  /** Reads bytes[start, end); the properties are those of this response until the next call. */
  read(bytes: Buffer, start: number, end: number): void {
    this.#bytes = bytes;
    this.#position = start;
    this.watchId = 0;
    this.created = false;
    this.cancelled = false;
    this.events = 0;
    while (this.#position < end) {
      const tag = this.#varint();
      if (tag === Tag.Event) this.#event();
      else if (tag === Tag.WatchId) this.watchId = this.#varint();
      else if (tag === Tag.Created) this.created = this.#varint() === 1;
      else if (tag === Tag.Cancelled) this.cancelled = this.#varint() === 1;
      else this.#skip(tag);
    }
  }

  #event(): void {
    const end = this.#varint() + this.#position;
    while (this.#position < end) {
      const tag = this.#varint();
      if (tag === EventTag.KeyValue) this.#keyValue();
      else this.#skip(tag);
    }
  }

  #keyValue(): void {
    const end = this.#varint() + this.#position;
    let number = -1;
    let revision = 0;
    while (this.#position < end) {
      const tag = this.#varint();
      if (tag === KeyValueTag.Value) {
        const length = this.#varint();
        if (length >= 4) number = this.#bytes.readUInt32BE(this.#position);
        this.#position += length;
      } else if (tag === KeyValueTag.ModRevision) {
        revision = this.#varint();
      } else {
        this.#skip(tag);
      }
    }
    this.revisions[this.events] = revision;
    this.numbers[this.events] = number;
    this.events++;
  }

  #skip(tag: number): void {
    const type = tag & 7;
    if (type !== WireType.Varint && type !== WireType.Bytes) throw new Error(`a field with tag ${tag}`);
    const value = this.#varint();
    if (type === WireType.Bytes) this.#position += value;
  }

  /** Exact up to 2^53; larger ones (ids of members) only need to be passed over. */
  #varint(): number {
    let byte = this.#bytes[this.#position++]!;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let factor = 128; ; factor *= 128) {
      byte = this.#bytes[this.#position++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }
}
