/**
 * The dynamic table (RFC 7541 §2.3.2, §4): newest entry first, bounded by the sum of its entries' sizes.
 *
 *     insert ->  [ 0: newest ][ 1 ][ 2 ] ... [ length - 1: oldest ]  -> evicted when sizeBytes > capacityBytes
 *
 * Kept as a circle of slots, so that an insertion moves nothing. Invariant: 0 <= sizeBytes <= capacityBytes.
 */
import { assert } from '../../../base/assert.js';
import { fieldOverheadBytes, type HeaderField } from './field.js';

export class DynamicTable {
  #slots: (HeaderField | undefined)[];
  /** Slot of the newest entry. */
  #newest = 0;
  #length = 0;
  #sizeBytes = 0;
  #capacityBytes: number;

  /** Counts every change of the contents: equal versions mean equal tables. */
  version = 0;

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
    this.#slots = new Array<HeaderField | undefined>(slotsFor(capacityBytes));
  }

  get length(): number {
    return this.#length;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get capacityBytes(): number {
    return this.#capacityBytes;
  }

  /** The entry `offset` places behind the newest (0 = newest), or undefined past the oldest. */
  get(offset: number): HeaderField | undefined {
    if (offset >= this.#length) return undefined;
    const slots = this.#slots;
    const slot = this.#newest - offset;
    return slots[slot >= 0 ? slot : slot + slots.length];
  }

  /**
   * Adds a field, evicting the oldest ones until it fits. A field larger than the whole table empties it and is not
   * kept (RFC 7541 §4.4). Returns whether it was kept.
   */
  insert(field: HeaderField): boolean {
    this.version += 1;
    const sizeBytes = field.sizeBytes;
    this.#evictDownTo(this.#capacityBytes - sizeBytes);
    if (sizeBytes > this.#capacityBytes) return false;
    const slots = this.#slots;
    this.#newest = this.#newest + 1 === slots.length ? 0 : this.#newest + 1;
    slots[this.#newest] = field;
    this.#length += 1;
    this.#sizeBytes += sizeBytes;
    assert(this.#length <= slots.length, 'dynamic table holds more entries than fit', { length: this.#length });
    return true;
  }

  /** Changes the capacity, evicting what no longer fits (RFC 7541 §4.3). */
  resize(capacityBytes: number): void {
    if (capacityBytes === this.#capacityBytes) return;
    this.version += 1;
    this.#evictDownTo(capacityBytes);
    this.#capacityBytes = capacityBytes;
    if (slotsFor(capacityBytes) <= this.#slots.length) return;
    const grown = new Array<HeaderField | undefined>(slotsFor(capacityBytes));
    for (let offset = 0; offset < this.#length; offset += 1) grown[this.#length - 1 - offset] = this.get(offset);
    this.#slots = grown;
    this.#newest = this.#length === 0 ? 0 : this.#length - 1;
  }

  #evictDownTo(sizeBytes: number): void {
    const slots = this.#slots;
    while (this.#length > 0 && this.#sizeBytes > sizeBytes) {
      const slot = this.#newest - (this.#length - 1);
      const oldest = slot >= 0 ? slot : slot + slots.length;
      const field = slots[oldest];
      assert(field !== undefined, 'dynamic table lost its oldest entry', { length: this.#length });
      slots[oldest] = undefined;
      this.#length -= 1;
      this.#sizeBytes -= field.sizeBytes;
    }
  }
}

/**
 * An entry costs at least its overhead, so that many slots always suffice; one more keeps an empty table addressable.
 */
function slotsFor(capacityBytes: number): number {
  return Math.floor(capacityBytes / fieldOverheadBytes) + 1;
}
