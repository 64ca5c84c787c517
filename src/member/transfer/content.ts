/**
 * What the tuples of a state's stream mean: entries of the small tables, then records, as the store's user knows them.
 */
import {
  decodeSmall,
  isTombstone,
  mainOf,
  RECORD_PREFIX,
  recordSeed,
  subOf,
  type Table,
  tableOf,
  unseal,
} from '../store/schema.js';

/** Keys and values are views of the tuple. */
export interface ContentVisitor {
  entry(table: Table, key: Uint8Array, value: Uint8Array): void;
  record(main: number, sub: number, tombstone: boolean, value: Uint8Array): void;
}

/** Tells what a tuple is; the applied index is nobody's. Throws StorageError `corrupt` when it fails its checksum. */
export function visitTuple(treeKey: Uint8Array, stored: Uint8Array, visitor: ContentVisitor): void {
  const prefix = treeKey[0]!;
  if (prefix === RECORD_PREFIX) {
    const main = mainOf(treeKey);
    const sub = subOf(treeKey);
    visitor.record(main, sub, isTombstone(treeKey), unseal(stored, recordSeed(main, sub)));
    return;
  }
  const table = tableOf(prefix);
  if (table === undefined) return;
  const { key, value } = decodeSmall(treeKey, stored);
  visitor.entry(table, key, value);
}
