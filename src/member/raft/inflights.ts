/**
 * The MsgApps with entries that are on their way to one follower: a ring of (last index, bytes), oldest first.
 *
 *     |oldest ........ newest|        indexes strictly ascend; an ack of index i frees all with last index <= i
 *
 * Full when either limit is reached: the number of messages, or the bytes (the message that crosses the byte limit
 * is still sent, so one large entry can never be stuck).
 */
import { assert } from '../../base/assert.js';

export class Inflights {
  readonly messagesMax: number;
  readonly bytesMax: number;
  #indexes: number[] = [];
  #sizes: number[] = [];
  #start = 0;
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    assert(messagesMax >= 1, 'inflights: at least one message must be allowed', { messagesMax });
    this.messagesMax = messagesMax;
    this.bytesMax = bytesMax;
  }

  get count(): number {
    return this.#indexes.length - this.#start;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get full(): boolean {
    return this.count >= this.messagesMax || this.#bytes >= this.bytesMax;
  }

  /** A message whose last entry is `index` and whose entries weigh `bytes` has been sent. */
  add(index: number, bytes: number): void {
    assert(!this.full, 'inflights: add while full', { index, count: this.count, bytes: this.#bytes });
    const newest = this.#indexes[this.#indexes.length - 1];
    assert(this.count === 0 || newest! < index, 'inflights: indexes ascend', { newest, index });
    this.#indexes.push(index);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** The follower has everything up to `index`. */
  freeUpTo(index: number): void {
    while (this.#start < this.#indexes.length && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start++;
    }
    if (this.#start === this.#indexes.length) this.reset();
    else if (this.#start >= this.messagesMax) this.#compact();
  }

  /** Forgets all of them, bytes included (I18). */
  reset(): void {
    this.#indexes.length = 0;
    this.#sizes.length = 0;
    this.#start = 0;
    this.#bytes = 0;
  }

  /** Drops the freed front; runs once per messagesMax frees, so a free costs O(1) amortized. */
  #compact(): void {
    this.#indexes = this.#indexes.slice(this.#start);
    this.#sizes = this.#sizes.slice(this.#start);
    this.#start = 0;
  }
}
