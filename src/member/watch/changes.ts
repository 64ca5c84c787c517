/**
 * A piece of history in memory, and its events, each encoded once however many watchers get it.
 *
 *   at 0 1 2 ...   revision, whether it deletes, the stored record      ascending by (main, sub)
 *
 * Used for the changes of a turn and for what a scan of the store has found. Revisions are never cut: all changes of a
 * revision are in one piece.
 */
import { compareBytes } from '../../base/bytes.js';
import { beginDeleteEvent, beginPutEvent, finishEvent } from '../../wire/watch.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import { recordKey } from '../mvcc/record.js';

export class Changes {
  readonly mains: number[] = [];
  readonly tombstones: boolean[] = [];
  readonly #records: Uint8Array[] = [];
  #plain: (Uint8Array | undefined)[] = [];
  #withPrevious: (Uint8Array | undefined)[] = [];
  /** The keys, and the positions in the order of their keys; made when a range is first asked for. */
  #keys: Uint8Array[] = [];
  #byKey: number[] = [];

  get length(): number {
    return this.mains.length;
  }

  /** `record` is kept. */
  push(main: number, tombstone: boolean, record: Uint8Array): void {
    this.mains.push(main);
    this.tombstones.push(tombstone);
    this.#records.push(record);
  }

  clear(): void {
    this.mains.length = 0;
    this.tombstones.length = 0;
    this.#records.length = 0;
    this.#plain = [];
    this.#withPrevious = [];
    this.#keys = [];
    this.#byKey = [];
  }

  key(at: number): Uint8Array {
    return recordKey(this.#records[at]!);
  }

  /** Position of the first change at revision `main` or later. */
  positionOf(main: number): number {
    let low = 0;
    let high = this.mains.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.mains[middle]! < main) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Writes the positions of all changes at `start` or later with a key in [from, to) to `found`, ascending. */
  select(from: Uint8Array, to: Uint8Array | null, start: number, found: number[]): void {
    if (this.#byKey.length !== this.length) this.#sortByKey();
    found.length = 0;
    for (let at = this.#firstKey(from); at < this.#byKey.length; at += 1) {
      const position = this.#byKey[at]!;
      if (to !== null && compareBytes(this.#keys[position]!, to) >= 0) break;
      if (position >= start) found.push(position);
    }
    found.sort((left, right) => left - right);
  }

  /** The encoded event, with prev_kv if asked for and there is one. */
  event(at: number, prevKv: boolean, mvcc: Mvcc): Uint8Array {
    const events = prevKv ? this.#withPrevious : this.#plain;
    let event = events[at];
    if (event === undefined) {
      event = encodeEvent(mvcc, this.key(at), this.mains[at]!, this.tombstones[at]!, this.#records[at]!, prevKv);
      events[at] = event;
    }
    return event;
  }

  #sortByKey(): void {
    const keys = this.#records.map(recordKey);
    this.#keys = keys;
    this.#byKey = keys.map((_key, at) => at).sort((left, right) => compareBytes(keys[left]!, keys[right]!));
  }

  /** Position in #byKey of the first key at or behind `from`. */
  #firstKey(from: Uint8Array): number {
    let low = 0;
    let high = this.#byKey.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#keys[this.#byKey[middle]!]!, from) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The event of one change. `record` may be a view of the store: it is copied before the store is used again. */
export function encodeEvent(
  mvcc: Mvcc,
  key: Uint8Array,
  main: number,
  tombstone: boolean,
  record: Uint8Array,
  prevKv: boolean,
): Uint8Array {
  if (tombstone) beginDeleteEvent(key, main);
  else beginPutEvent(record);
  return finishEvent(prevKv ? recordBefore(mvcc, key, main) : undefined);
}

/** The key's record at revision main - 1: none when it did not exist there, or when that is compacted. A view. */
function recordBefore(
  { index, compactRevision, storage }: Mvcc,
  key: Uint8Array,
  main: number,
): Uint8Array | undefined {
  if (main - 1 < compactRevision) return undefined;
  const slot = index.find(key);
  if (slot === -1) return undefined;
  const { table } = index;
  const position = table.positionAt(slot, main - 1);
  if (position < 0 || table.tombstoneAt(slot, position)) return undefined;
  return storage.getRecord(table.mainAt(slot, position), table.subAt(slot, position));
}
