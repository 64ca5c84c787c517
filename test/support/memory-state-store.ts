/**
 * A state store in plain arrays and maps: the same promises as the real one, without files.
 *
 * What was committed survives `crash()`, everything else is gone with it. All records are lent out in one buffer, so
 * that a caller who keeps a view too long sees it change under its hands.
 */
import assert from 'node:assert/strict';
import { crc32c } from '../../src/base/crc32c.js';
import type { RecordVisitor, Revision } from '../../src/member/mvcc/storage.js';

interface StoredRecord {
  readonly main: number;
  readonly sub: number;
  readonly tombstone: boolean;
  readonly value: Uint8Array;
}

interface Content {
  records: StoredRecord[];
  tables: Map<string, Map<string, Uint8Array>>;
  appliedIndex: number;
  appliedTerm: number;
}

export class MemoryStateStore {
  #committed: Content;
  #content: Content;
  readonly #view = new Uint8Array(1 << 16);
  #lastMain = 0;
  #lastSub = -1;
  /** What quota checks see. */
  reportedSizeBytes = 0;

  constructor(committed?: Content) {
    this.#committed = committed ?? { records: [], tables: new Map(), appliedIndex: 0, appliedTerm: 0 };
    this.#content = copyOf(this.#committed);
    const last = this.#content.records.at(-1);
    if (last !== undefined) {
      this.#lastMain = last.main;
      this.#lastSub = last.sub;
    }
  }

  get appliedIndex(): number {
    return this.#content.appliedIndex;
  }

  get appliedTerm(): number {
    return this.#content.appliedTerm;
  }

  get recordCount(): number {
    return this.#content.records.length;
  }

  /** Everything so far becomes what a crash leaves behind. */
  commit(): void {
    this.#committed = copyOf(this.#content);
  }

  /** The store as a restart finds it. */
  crash(): MemoryStateStore {
    const store = new MemoryStateStore(this.#committed);
    store.reportedSizeBytes = this.reportedSizeBytes;
    return store;
  }

  setApplied(index: number, term: number): void {
    assert.ok(index > this.#content.appliedIndex && term >= this.#content.appliedTerm, 'applied index goes up');
    this.#content.appliedIndex = index;
    this.#content.appliedTerm = term;
  }

  sizeBytes(): number {
    return this.reportedSizeBytes;
  }

  putRecord(main: number, sub: number, tombstone: boolean, value: Uint8Array): void {
    assert.ok(main > this.#lastMain || (main === this.#lastMain && sub > this.#lastSub), 'records ascend');
    this.#lastMain = main;
    this.#lastSub = sub;
    this.#content.records.push({ main, sub, tombstone, value: value.slice() });
  }

  getRecord(main: number, sub: number): Uint8Array | undefined {
    const record = this.#content.records[this.#position(main, sub)];
    if (record === undefined || record.main !== main || record.sub !== sub || record.tombstone) return undefined;
    return this.#lend(record.value);
  }

  deleteRecord(main: number, sub: number, tombstone: boolean): void {
    const at = this.#position(main, sub);
    const record = this.#content.records[at];
    assert.ok(record?.main === main && record.sub === sub && record.tombstone === tombstone, 'the record exists');
    this.#content.records.splice(at, 1);
  }

  scanRecords(from: Revision, visit: RecordVisitor): void {
    const { records } = this.#content;
    const length = records.length;
    for (let at = this.#position(from.main, from.sub); at < length; at += 1) {
      const { main, sub, tombstone, value } = records[at]!;
      if (!visit(main, sub, tombstone, this.#lend(value), crc32c(value, at), at)) return;
      assert.equal(records.length, length, 'the visitor leaves the store alone');
    }
  }

  get(table: string, key: Uint8Array): Uint8Array | undefined {
    return this.#table(table).get(nameOf(key));
  }

  put(table: string, key: Uint8Array, value: Uint8Array): void {
    this.#table(table).set(nameOf(key), value.slice());
  }

  delete(table: string, key: Uint8Array): void {
    this.#table(table).delete(nameOf(key));
  }

  list(table: string): [key: Uint8Array, value: Uint8Array][] {
    return [...this.#table(table)]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, value]) => [Buffer.from(key, 'latin1'), value]);
  }

  #table(name: string): Map<string, Uint8Array> {
    let table = this.#content.tables.get(name);
    if (table === undefined) {
      table = new Map();
      this.#content.tables.set(name, table);
    }
    return table;
  }

  /** Position of the first record at or after (main, sub). */
  #position(main: number, sub: number): number {
    const { records } = this.#content;
    let low = 0;
    let high = records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const record = records[middle]!;
      if (record.main < main || (record.main === main && record.sub < sub)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #lend(value: Uint8Array): Uint8Array {
    if (value.length > this.#view.length) return value.slice();
    this.#view.fill(0xee);
    this.#view.set(value);
    return this.#view.subarray(0, value.length);
  }
}

function copyOf(content: Content): Content {
  const tables = new Map([...content.tables].map(([name, table]) => [name, new Map(table)]));
  return { ...content, records: [...content.records], tables };
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1');
}
