import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { KeyIndex, type RangeEnd } from '../../../src/member/mvcc/key-index.js';

interface ModelRevision {
  readonly main: number;
  readonly sub: number;
  readonly tombstone: boolean;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const textOf = (index: KeyIndex, slot: number): string => Buffer.from(index.table.key(slot)).toString('latin1');

function revisionsOf(index: KeyIndex, key: string): string {
  const slot = index.find(bytes(key));
  if (slot === -1) return '';
  return Array.from({ length: index.table.count(slot) }, (_, at) => {
    const mark = index.table.tombstoneAt(slot, at) ? 't' : '';
    return `${index.table.mainAt(slot, at)}.${index.table.subAt(slot, at)}${mark}`;
  }).join(' ');
}

/** What compaction does with one key of the index, without any records. */
function compactKey(index: KeyIndex, key: string, revision: number): void {
  const slot = index.find(bytes(key));
  const position = index.table.positionAt(slot, revision);
  if (position === -1) return;
  const kept = !index.table.tombstoneAt(slot, position) || index.table.mainAt(slot, position) === revision;
  index.dropOldest(slot, kept ? position : position + 1);
}

function example(): KeyIndex {
  const index = new KeyIndex();
  index.put(bytes('k'), 5, 0);
  index.put(bytes('k'), 7, 0);
  index.tombstone(index.find(bytes('k')), 9, 0);
  index.put(bytes('k'), 12, 0);
  return index;
}

test('the example of the table: generations, versions and compactions', () => {
  const index = new KeyIndex();
  const { table } = index;
  const steps: [() => void, string, number, number][] = [
    [() => index.put(bytes('k'), 5, 0), '5.0', 5, 1],
    [() => index.put(bytes('k'), 7, 0), '5.0 7.0', 5, 2],
    [() => index.tombstone(index.find(bytes('k')), 9, 0), '5.0 7.0 9.0t', 0, 0],
    [() => index.put(bytes('k'), 12, 0), '5.0 7.0 9.0t 12.0', 12, 1],
  ];
  for (const [step, revisions, created, version] of steps) {
    step();
    const slot = index.find(bytes('k'));
    assert.equal(revisionsOf(index, 'k'), revisions);
    assert.deepEqual([table.createdMain(slot), table.version(slot)], [created, version]);
  }
  const compacted: [number, string][] = [
    [4, '5.0 7.0 9.0t 12.0'],
    [5, '5.0 7.0 9.0t 12.0'],
    [8, '7.0 9.0t 12.0'],
    [9, '9.0t 12.0'],
    [11, '12.0'],
    [12, '12.0'],
  ];
  for (const [revision, revisions] of compacted) {
    const copy = example();
    compactKey(copy, 'k', revision);
    assert.equal(revisionsOf(copy, 'k'), revisions, `compacted at ${revision}`);
    copy.check();
  }
});

test('a key whose last revision is dropped leaves the index, and its slot serves another', () => {
  const index = new KeyIndex();
  const slot = index.put(bytes('gone'), 2, 0);
  index.tombstone(slot, 3, 0);
  compactKey(index, 'gone', 3);
  assert.equal(revisionsOf(index, 'gone'), '3.0t');
  compactKey(index, 'gone', 4);
  assert.equal(index.find(bytes('gone')), -1);
  assert.equal(index.size, 0);
  assert.equal(index.put(bytes('other'), 5, 0), slot);
  assert.equal(revisionsOf(index, 'other'), '5.0');
  index.check();
});

test('a key that is put very often keeps all its revisions, and gives the memory back', () => {
  const index = new KeyIndex();
  for (let main = 1; main <= 5_000; main += 1) index.put(bytes('hot'), main, main % 3);
  const slot = index.find(bytes('hot'));
  for (const at of [1, 2, 63, 64, 65, 4_095, 4_096, 4_097, 4_999, 5_000]) {
    assert.equal(index.table.positionAt(slot, at), at - 1);
    assert.equal(index.table.mainAt(slot, at - 1), at);
    assert.equal(index.table.subAt(slot, at - 1), at % 3);
  }
  compactKey(index, 'hot', 4_990);
  assert.equal(index.table.count(slot), 11);
  assert.equal(index.table.mainAt(slot, 0), 4_990);
  assert.equal(index.table.version(slot), 5_000);
  compactKey(index, 'hot', 5_000);
  assert.equal(revisionsOf(index, 'hot'), '5000.2');
});

test('since lists the changes of a range in the order of their revisions', () => {
  const index = example();
  index.put(bytes('a'), 13, 0);
  index.put(bytes('z'), 13, 1);
  index.tombstone(index.find(bytes('a')), 14, 0);
  const list = (from: string, to: RangeEnd, main: number): string =>
    index
      .since(bytes(from), to, main)
      .map(({ main: at, sub, tombstone, slot }) => `${textOf(index, slot)}@${at}.${sub}${tombstone ? 't' : ''}`)
      .join(' ');
  assert.equal(list('a', null, 9), 'k@9.0t k@12.0 a@13.0 z@13.1 a@14.0t');
  assert.equal(list('a', bytes('z'), 13), 'a@13.0 a@14.0t');
  assert.equal(list('k', undefined, 6), 'k@7.0 k@9.0t k@12.0');
  assert.equal(list('k', undefined, 15), '');
});

/** The index beside a map of lists, fed with the same changes and asked the same questions. */
class Pair {
  readonly index = new KeyIndex();
  readonly model = new Map<string, ModelRevision[]>();
  readonly #prng: Prng;
  readonly #keyOf: (number: number) => string;
  readonly #keys: number;
  main = 1;

  constructor(seed: number, keys: number, keyOf: (number: number) => string) {
    this.#prng = new Prng(seed);
    this.#keys = keys;
    this.#keyOf = keyOf;
  }

  anyKey(): string {
    return this.#keyOf(this.#prng.nextBelow(this.#keys));
  }

  change(): void {
    this.main += 1;
    const changed = new Set<string>();
    for (let sub = 0; sub <= this.#prng.nextBelow(3); sub += 1) {
      const key = this.anyKey();
      if (changed.has(key)) continue;
      changed.add(key);
      const revisions = this.model.get(key) ?? [];
      const live = revisions.at(-1)?.tombstone === false;
      const tombstone = live && this.#prng.nextBelow(3) === 0;
      if (tombstone) this.index.tombstone(this.index.find(bytes(key)), this.main, sub);
      else this.index.put(bytes(key), this.main, sub);
      this.model.set(key, [...revisions, { main: this.main, sub, tombstone }]);
    }
  }

  compact(revision: number): void {
    for (const key of [...this.model.keys()]) {
      compactKey(this.index, key, revision);
      const revisions = this.model.get(key)!;
      const newest = revisions.findLastIndex(({ main }) => main <= revision);
      const dropped = newest !== -1 && revisions[newest]!.tombstone && revisions[newest]!.main < revision;
      const kept = revisions.slice(Math.max(newest, 0) + (dropped ? 1 : 0));
      if (kept.length === 0) this.model.delete(key);
      else this.model.set(key, kept);
    }
  }

  compare(): void {
    const from = this.anyKey();
    const to = [undefined, null, bytes(this.anyKey()), bytes(`${from}\xff`)][this.#prng.nextBelow(4)];
    const atMain = Math.max(1, this.main - this.#prng.nextBelow(40));
    const limit = this.#prng.nextBelow(4);
    const all = [...this.model]
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .filter(([key]) =>
        to === undefined ? key === from : key >= from && (to === null || key < to.toString('latin1')),
      )
      .map(([key, revisions]) => ({ key, at: revisions.findLast(({ main }) => main <= atMain) }))
      .filter(({ at }) => at?.tombstone === false);
    const { slots, mains, subs } = this.index.select(bytes(from), to, atMain, limit);
    const found = slots.map((slot, at) => `${textOf(this.index, slot)}@${mains[at]}.${subs[at]}`);
    const expected = all.map(({ key, at }) => `${key}@${at!.main}.${at!.sub}`);
    assert.deepEqual(found, limit === 0 ? expected : expected.slice(0, limit));
    assert.equal(this.index.count(bytes(from), to, atMain), all.length);
  }

  check(): void {
    this.index.check();
    assert.equal(this.index.size, this.model.size);
    for (const [key, revisions] of this.model) {
      const expected = revisions.map(({ main, sub, tombstone }) => `${main}.${sub}${tombstone ? 't' : ''}`);
      assert.equal(revisionsOf(this.index, key), expected.join(' '));
    }
  }
}

const shapes: [string, number, (number: number) => string][] = [
  ['few keys', 12, number => 'k'.repeat(1 + (number % 6)) + (number < 6 ? '' : '\xff')],
  ['random keys', 3_000, number => (Math.imul(number + 1, 0x9e3779b1) >>> 0).toString(36)],
  ['keys with a long common part', 2_000, number => `/registry/pods/default/${number.toString(2).padStart(12, 'a')}`],
  ['keys that differ far behind', 700, number => `${'x'.repeat(40)}${number % 7}${'y'.repeat(20)}${number}`],
  ['bytes at both ends', 400, number => String.fromCharCode(number % 2 === 0 ? 0 : 255).repeat(number % 40)],
];

for (const [name, keys, keyOf] of shapes) {
  test(`the index agrees with a map of lists: ${name}`, () => {
    const pair = new Pair(keys, keys, keyOf);
    for (let step = 0; step < 6_000; step += 1) {
      pair.change();
      if (step % 7 === 0) pair.compare();
      if (step % 400 === 399) pair.compact(pair.main - 30);
      if (step % 1_000 === 999) pair.check();
    }
    pair.compact(pair.main);
    pair.check();
  });
}

test('keys that come in order, and that go again in any order', () => {
  const index = new KeyIndex();
  const keys = Array.from({ length: 20_000 }, (_, number) => `/n/${String(number).padStart(6, '0')}`);
  keys.forEach((key, at) => {
    index.put(bytes(key), at + 2, 0);
  });
  index.check();
  const last = keys.length + 1;
  assert.equal(index.count(bytes('/n/'), bytes('/n0'), last), keys.length);
  assert.equal(index.count(bytes('/n/'), bytes('/n0'), 1_001), 1_000);
  assert.equal(index.count(bytes('/n/000100'), bytes('/n/000200'), last), 100);
  const prng = new Prng(5);
  let main = last;
  for (let left = keys.length; left > 0; left -= 1) {
    const at = prng.nextBelow(left);
    const key = keys[at]!;
    keys[at] = keys[left - 1]!;
    main += 1;
    index.tombstone(index.find(bytes(key)), main, 0);
    compactKey(index, key, main + 1);
    if (left % 2_500 === 0) index.check();
  }
  assert.equal(index.size, 0);
  assert.equal(index.count(bytes(''), null, main), 0);
  index.check();
});
