/**
 * The newest entries of the log in memory, contiguous up to the log's end. Everything not yet in LMDB is here; what is
 * in LMDB already stays while the cache is below its cap, because that is what followers ask for.
 *
 *     first                    end
 *       |  e  e  e  e  e  e  e |        entries[start] has index `first`; slots before `start` are empty
 */
import { assert } from '../../base/assert.js';
import { type Entry, entryBytes } from '../raft/types.js';

const COMPACT_SLOTS = 4096;

export class EntryCache {
  #slots: (Entry | undefined)[] = [];
  #start = 0;
  #first: number;
  #bytes = 0;

  /** An empty cache whose next entry has index `first`. */
  constructor(first: number) {
    this.#first = first;
  }

  /** Index of the first cached entry; equals `end` when empty. */
  get first(): number {
    return this.#first;
  }

  /** One more than the index of the last cached entry. */
  get end(): number {
    return this.#first + this.#slots.length - this.#start;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The entry at an index in [first, end). */
  at(index: number): Entry {
    const entry = this.#slots[this.#start + index - this.#first];
    assert(entry !== undefined && entry.index === index, 'entry is not in the cache', { index, first: this.#first });
    return entry;
  }

  /** The entry must be the next one. It is kept by reference. */
  push(entry: Entry): void {
    assert(entry.index === this.end, 'entry leaves a hole in the log', { index: entry.index, end: this.end });
    this.#slots.push(entry);
    this.#bytes += entryBytes(entry);
  }

  /** Drops entries with index >= `index`. */
  truncate(index: number): void {
    while (this.end > index && this.#slots.length > this.#start) {
      this.#bytes -= entryBytes(this.#slots.pop()!);
    }
    if (this.#slots.length === this.#start && index < this.#first) this.reset(index);
  }

  /** Drops entries with index < `index`. */
  dropBefore(index: number): void {
    if (index >= this.end) {
      this.reset(Math.max(index, this.end));
      return;
    }
    while (this.#first < index) this.#dropFirst();
    this.#compactSlots();
  }

  /** Drops from the front until at most `bytesMax` are left, but nothing at or after `keepFrom`. */
  shrink(bytesMax: number, keepFrom: number): void {
    while (this.#bytes > bytesMax && this.#first < keepFrom && this.#first < this.end) this.#dropFirst();
    this.#compactSlots();
  }

  /** Empties it; the next entry has index `first`. */
  reset(first: number): void {
    this.#slots = [];
    this.#start = 0;
    this.#first = first;
    this.#bytes = 0;
  }

  #dropFirst(): void {
    this.#bytes -= entryBytes(this.#slots[this.#start]!);
    this.#slots[this.#start] = undefined;
    this.#start += 1;
    this.#first += 1;
  }

  #compactSlots(): void {
    if (this.#start < COMPACT_SLOTS || this.#start * 2 < this.#slots.length) return;
    this.#slots.splice(0, this.#start);
    this.#start = 0;
  }
}
