/**
 * From user keys to revisions, in memory: what etcd calls its key index. Rebuilt at start from the stored records.
 *
 *     table    slot -> key, revisions; key -> slot     exact lookups, the common case
 *     tree     the slots in key order                  ranges, counts
 *
 * A range is [from, to): `to` undefined means the single key `from`, null means no upper bound.
 *
 * Invariants (V3, V4): every slot in use is in the tree and has a revision; what lies at or below the last finished
 * compaction is only what compaction keeps.
 */
import { assert } from '../../base/assert.js';
import { EMPTY_BYTES } from '../../base/bytes.js';
import { KeyTable } from './key-table.js';
import { KeyTree } from './key-tree.js';

export type RangeEnd = Uint8Array | null | undefined;

/** What `select` found, in key order: the key in slots[i] has the revision mains[i].subs[i]. */
export interface Selection {
  readonly slots: number[];
  readonly mains: number[];
  readonly subs: number[];
}

/** One change, for those who follow the history of a range. */
export interface Change {
  readonly main: number;
  readonly sub: number;
  readonly tombstone: boolean;
  readonly slot: number;
}

export class KeyIndex {
  /** Read only for everybody else. */
  readonly table = new KeyTable();
  readonly #tree = new KeyTree(this.table);

  /** Keys known, deleted but not yet compacted ones included. */
  get size(): number {
    return this.#tree.size;
  }

  /** The slot of a key, or -1. */
  find(key: Uint8Array): number {
    return this.table.find(key);
  }

  /** Records a put and returns the key's slot, which then tells createdMain and version. `key` is copied when new. */
  put(key: Uint8Array, main: number, sub: number): number {
    const { table } = this;
    const slot = this.#obtain(key);
    if (table.live(slot)) {
      table.put(slot, main, sub, table.createdMain(slot), table.version(slot) + 1);
      this.#tree.changed(slot, main, 0);
    } else {
      table.put(slot, main, sub, main, 1);
      this.#tree.changed(slot, main, 1);
    }
    return slot;
  }

  /** Records the deletion of a key that exists. */
  tombstone(slot: number, main: number, sub: number): void {
    assert(this.table.live(slot), 'only a key that exists is deleted', { main, sub });
    this.table.tombstone(slot, main, sub);
    this.#tree.changed(slot, main, -1);
  }

  /** Adds a stored put at start, in revision order, with what its record says about its generation. Returns the slot. */
  restorePut(key: Uint8Array, main: number, sub: number, createdMain: number, version: number): number {
    const slot = this.#obtain(key);
    const liveChange = this.table.live(slot) ? 0 : 1;
    this.table.put(slot, main, sub, createdMain, version);
    this.#tree.changed(slot, main, liveChange);
    return slot;
  }

  /** Adds a stored tombstone at start, in revision order; compaction may have kept it without any put before it. */
  restoreTombstone(key: Uint8Array, main: number, sub: number): number {
    const slot = this.#obtain(key);
    const liveChange = this.table.live(slot) ? -1 : 0;
    this.table.tombstone(slot, main, sub);
    this.#tree.changed(slot, main, liveChange);
    return slot;
  }

  /** Number of keys of the range that exist at `atMain`. */
  count(from: Uint8Array, to: RangeEnd, atMain: number): number {
    if (to !== undefined) return this.#tree.countLive(from, to, atMain);
    const slot = this.find(from);
    return slot !== -1 && this.table.liveAt(slot, atMain) ? 1 : 0;
  }

  /** Whether any key exists at `atMain`. */
  anyLive(atMain: number): boolean {
    return this.select(EMPTY_BYTES, null, atMain, 1).slots.length > 0;
  }

  /** The first `limit` keys (0: all) of the range that exist at `atMain`, with the revision each has there. */
  select(from: Uint8Array, to: RangeEnd, atMain: number, limit: number): Selection {
    const { table } = this;
    const selection: Selection = { slots: [], mains: [], subs: [] };
    this.#visit(from, to, slot => {
      const position = table.positionAt(slot, atMain);
      if (position < 0 || table.tombstoneAt(slot, position)) return true;
      selection.slots.push(slot);
      selection.mains.push(table.mainAt(slot, position));
      selection.subs.push(table.subAt(slot, position));
      return selection.slots.length !== limit;
    });
    return selection;
  }

  /** All changes of the range at main >= `fromMain` that are not compacted, ascending by (main, sub). */
  since(from: Uint8Array, to: RangeEnd, fromMain: number): Change[] {
    const { table } = this;
    const changes: Change[] = [];
    this.#visit(from, to, slot => {
      for (let at = table.positionAt(slot, fromMain - 1) + 1; at < table.count(slot); at += 1) {
        const main = table.mainAt(slot, at);
        changes.push({ main, sub: table.subAt(slot, at), tombstone: table.tombstoneAt(slot, at), slot });
      }
      return true;
    });
    return changes.sort((left, right) => left.main - right.main || left.sub - right.sub);
  }

  /**
   * Whether compaction at `atMain` keeps the record of `slot` at (main, sub): it must be the newest there, and a
   * tombstone only counts when it is exactly there (etcd 3.4.34, 3.5.16, 3.6).
   */
  keptAt(slot: number, atMain: number, main: number, sub: number): boolean {
    const position = this.newestAt(slot, atMain, main, sub);
    return position !== -1 && (main === atMain || !this.table.tombstoneAt(slot, position));
  }

  /** The position of revision (main, sub) if it is the newest of the slot at `atMain`, else -1. */
  newestAt(slot: number, atMain: number, main: number, sub: number): number {
    const { table } = this;
    const position = table.positionAt(slot, atMain);
    if (position < 0 || table.mainAt(slot, position) !== main || table.subAt(slot, position) !== sub) return -1;
    return position;
  }

  /** Forgets the `positions` oldest revisions of a key; a key without any revision left leaves the index. */
  dropOldest(slot: number, positions: number): void {
    this.table.dropOldest(slot, positions);
    if (this.table.count(slot) > 0) return;
    this.#tree.remove(slot);
    this.table.remove(slot);
  }

  /** Every key in order. */
  visitAll(visit: (slot: number) => boolean): void {
    this.#tree.visit(EMPTY_BYTES, null, visit);
  }

  /** Asserts the invariants of the whole index, for tests. */
  check(): void {
    this.#tree.check();
    this.visitAll(slot => {
      assert(this.table.count(slot) > 0 && this.find(this.table.key(slot)) === slot, 'an indexed key can be found');
      return true;
    });
  }

  #visit(from: Uint8Array, to: RangeEnd, visit: (slot: number) => boolean): void {
    if (to !== undefined) {
      this.#tree.visit(from, to, visit);
      return;
    }
    const slot = this.find(from);
    if (slot !== -1) visit(slot);
  }

  #obtain(key: Uint8Array): number {
    const found = this.table.find(key);
    if (found !== -1) return found;
    const slot = this.table.add(key);
    this.#tree.insert(slot, key);
    return slot;
  }
}
