/**
 * The keys a user may read, or write: the union of what its roles grant, as intervals that neither touch nor overlap.
 *
 *   granted   [a────c)      [b──────f)   [k]   [k\0────m)     [x─────> without end
 *   merged    [a────────────────────f)   [k───────────m)     [x─────>
 *
 * What is asked for is allowed when one interval holds all of it: grants side by side count as one, as in etcd, and the
 * right to one key says nothing about those behind it. A question is one binary search and makes no object.
 */
import { compareBytes, equalBytes } from '../../base/bytes.js';

const SUCCESSOR = 0x00;

/** The end of an interval; null: there is none. */
type End = Uint8Array | null;

interface Interval {
  readonly start: Uint8Array;
  readonly end: End;
}

/** Whether this range_end means "everything from key on". */
export function isOpenEnded(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}

/** Whether a permission may be granted on these: a key is given, and there is something in the range. */
export function isGrantable(key: Uint8Array, rangeEnd: Uint8Array): boolean {
  if (key.length === 0) return false;
  return rangeEnd.length === 0 || isOpenEnded(rangeEnd) || compareBytes(key, rangeEnd) < 0;
}

export class KeyRanges {
  readonly #starts: readonly Uint8Array[];
  readonly #ends: readonly End[];

  /** The union of permissions; those on nothing are left out. */
  constructor(granted: readonly { readonly key: Uint8Array; readonly range_end: Uint8Array }[]) {
    const merged = merge(granted.filter(({ key, range_end: end }) => isGrantable(key, end)).map(intervalOf));
    this.#starts = merged.map(({ start }) => start);
    this.#ends = merged.map(({ end }) => end);
  }

  /** Whether all of [key, rangeEnd) is in it; an empty range_end asks for the key alone, as does one not above the key. */
  covers(key: Uint8Array, rangeEnd: Uint8Array): boolean {
    const at = this.#lastAtOrBelow(key);
    if (at < 0) return false;
    const end = this.#ends[at] as End;
    if (end === null) return true;
    if (compareBytes(key, end) >= 0) return false;
    if (rangeEnd.length === 0) return true;
    return !isOpenEnded(rangeEnd) && compareBytes(rangeEnd, end) <= 0;
  }

  /** The interval that begins last among those that begin at or before `key`, or -1. */
  #lastAtOrBelow(key: Uint8Array): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#starts[middle] as Uint8Array, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

function intervalOf({
  key,
  range_end: rangeEnd,
}: {
  readonly key: Uint8Array;
  readonly range_end: Uint8Array;
}): Interval {
  if (isOpenEnded(rangeEnd)) return { start: key, end: null };
  if (rangeEnd.length > 0) return { start: key, end: rangeEnd };
  const end = new Uint8Array(key.length + 1);
  end.set(key);
  end[key.length] = SUCCESSOR;
  return { start: key, end };
}

function merge(intervals: Interval[]): Interval[] {
  const sorted = intervals.sort((left, right) => compareBytes(left.start, right.start));
  const merged: Interval[] = [];
  for (const interval of sorted) {
    const last = merged.at(-1);
    if (last === undefined || (last.end !== null && compareBytes(last.end, interval.start) < 0)) merged.push(interval);
    else merged[merged.length - 1] = { start: last.start, end: furthest(last.end, interval.end) };
  }
  return merged;
}

function furthest(left: End, right: End): End {
  if (left === null || right === null) return null;
  return compareBytes(left, right) < 0 ? right : left;
}

/** Whether two permissions are on the same keys, to the byte: one replaces the other. */
export function isSameRange(
  left: { readonly key: Uint8Array; readonly range_end: Uint8Array },
  right: { readonly key: Uint8Array; readonly range_end: Uint8Array },
): boolean {
  return equalBytes(left.key, right.key) && equalBytes(left.range_end, right.range_end);
}
