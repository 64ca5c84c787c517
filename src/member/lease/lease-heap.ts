/**
 * The leases of a leader by the moment at which something is due: a binary heap in which every lease knows its place,
 * so that one that is renewed or removed is found without a search.
 *
 * Invariants: a lease is due no earlier than its parent; leases[lease.heapAt] is the lease; -1 stands for "not in it".
 */
import { assert } from '../../base/assert.js';

export interface HeapItem {
  dueMs: number;
  heapAt: number;
}

export class LeaseHeap<Item extends HeapItem> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The item that is due first. */
  peek(): Item | undefined {
    return this.#items[0];
  }

  /** Adds an item, or moves it to where its changed `dueMs` belongs. */
  set(item: Item, dueMs: number): void {
    item.dueMs = dueMs;
    if (item.heapAt === -1) {
      item.heapAt = this.#items.length;
      this.#items.push(item);
    }
    this.#up(item);
    this.#down(item);
  }

  /** Takes an item out, if it is in. */
  delete(item: Item): void {
    const at = item.heapAt;
    if (at === -1) return;
    item.heapAt = -1;
    const last = this.#items.pop()!;
    if (last === item) return;
    this.#place(last, at);
    this.#up(last);
    this.#down(last);
  }

  clear(): void {
    for (const item of this.#items) item.heapAt = -1;
    this.#items.length = 0;
  }

  /** Asserts the invariants, for tests. */
  check(): void {
    this.#items.forEach((item, at) => {
      assert(item.heapAt === at, 'an item knows its place', { at, heapAt: item.heapAt });
      assert(at === 0 || this.#items[(at - 1) >> 1]!.dueMs <= item.dueMs, 'parents are due first', { at });
    });
  }

  #up(item: Item): void {
    let at = item.heapAt;
    while (at > 0) {
      const parent = this.#items[(at - 1) >> 1]!;
      if (parent.dueMs <= item.dueMs) break;
      this.#place(parent, at);
      at = (at - 1) >> 1;
    }
    this.#place(item, at);
  }

  #down(item: Item): void {
    const { length } = this.#items;
    let at = item.heapAt;
    for (let child = at * 2 + 1; child < length; child = at * 2 + 1) {
      if (child + 1 < length && this.#items[child + 1]!.dueMs < this.#items[child]!.dueMs) child += 1;
      const least = this.#items[child]!;
      if (item.dueMs <= least.dueMs) break;
      this.#place(least, at);
      at = child;
    }
    this.#place(item, at);
  }

  #place(item: Item, at: number): void {
    this.#items[at] = item;
    item.heapAt = at;
  }
}
