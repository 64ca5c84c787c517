/**
 * The inner nodes of the key tree (key-tree.ts), and heads: keys shortened to a number that orders like them.
 */
import { compareBytes } from '../../base/bytes.js';

const HEAD_BYTES = 6;

/** Not a branch's number: those are negative. */
export const NO_PARENT = 0;

export class KeyBranch {
  /** The node number of the parent branch, or NO_PARENT. */
  parent = NO_PARENT;
  /** Keys below that exist at their newest revision. */
  live = 0;
  /** The largest main revision of any key below, or more. */
  newestMain = 0;
  /** Bytes that all keys below share. */
  skip = 0;
  /** headOf the separators. */
  readonly heads: number[] = [];
  readonly separators: Uint8Array[] = [];
  /** Node numbers: one more than separators. */
  readonly children: number[] = [];
}

/** Number of separators <= key: the child that holds it. */
export function childIndex(branch: KeyBranch, key: Uint8Array): number {
  const { heads, separators } = branch;
  const head = headOf(key, branch.skip);
  let low = 0;
  let high = heads.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = heads[middle]!;
    if (other < head || (other === head && compareBytes(separators[middle]!, key) <= 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The bytes of `key` from `skip` on as a number that orders like them, an absent byte below any other: six digits to
 * base 257 fit in 49 bits. The half keeps the engine from storing some heads as integers and others as doubles.
 */
export function headOf(key: Uint8Array, skip: number): number {
  const length = key.length;
  if (skip + HEAD_BYTES <= length) {
    const high = ((key[skip]! + 1) * 257 + key[skip + 1]! + 1) * 257 + key[skip + 2]! + 1;
    const low = ((key[skip + 3]! + 1) * 257 + key[skip + 4]! + 1) * 257 + key[skip + 5]! + 1;
    return high * 16_974_593 + low + 0.5;
  }
  let head = 0;
  for (let at = skip; at < skip + HEAD_BYTES; at += 1) head = head * 257 + (at < length ? key[at]! + 1 : 0);
  return head + 0.5;
}

/** Number of bytes that both begin with. */
export function commonPrefix(left: Uint8Array, right: Uint8Array): number {
  let shared = 0;
  while (shared < left.length && left[shared] === right[shared]) shared += 1;
  return shared;
}
