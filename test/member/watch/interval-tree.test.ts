import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareBytes } from '../../../src/base/bytes.js';
import { Prng } from '../../../src/base/prng.js';
import { IntervalTree } from '../../../src/member/watch/interval-tree.js';
import { bytesOf } from './support.js';

interface Range {
  readonly from: Uint8Array;
  readonly to: Uint8Array | null;
}

const nameOf = ({ from, to }: Range): string => `${Buffer.from(from)}..${to === null ? '' : Buffer.from(to)}`;

function stabbed(tree: IntervalTree<string>, key: Uint8Array): string[] {
  const found: string[] = [];
  tree.stab(key, found);
  return found.sort();
}

test('the ranges that hold a key, against a list, with ranges coming and going', () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const prng = new Prng(seed);
    const tree = new IntervalTree<string>();
    const model = new Map<string, Range>();
    const someKey = (): Uint8Array =>
      bytesOf(Array.from({ length: 1 + prng.nextBelow(2) }, () => 'abcdefgh'[prng.nextBelow(8)]).join(''));
    for (let step = 0; step < 400; step += 1) {
      const range: Range = { from: someKey(), to: prng.nextBelow(6) === 0 ? null : someKey() };
      const name = nameOf(range);
      if (model.has(name)) {
        assert.equal(tree.find(range.from, range.to)?.value, name);
        tree.remove(range.from, range.to);
        model.delete(name);
      } else if (range.to === null || compareBytes(range.from, range.to) < 0) {
        tree.add(range.from, range.to, name);
        model.set(name, range);
      }
      assert.equal(tree.find(range.from, range.to)?.value, model.has(name) ? name : undefined);
      const key = someKey();
      const expected = [...model.values()].filter(
        ({ from, to }) => compareBytes(from, key) <= 0 && (to === null || compareBytes(key, to) < 0),
      );
      assert.deepEqual(stabbed(tree, key), expected.map(nameOf).sort());
    }
    for (const { from, to } of model.values()) tree.remove(from, to);
    assert.equal(tree.height, 0);
  }
});

test('ascending, descending and churning ranges leave the tree flat', () => {
  const tree = new IntervalTree<number>();
  const count = 10_000;
  const key = (at: number): Uint8Array => bytesOf(`${100_000 + at}`);
  for (let at = 0; at < count; at += 1) tree.add(key(at), key(at + 1), at);
  for (let at = count - 1; at >= 0; at -= 1) tree.add(key(at), null, -1);
  assert.ok(tree.height <= 1.45 * Math.log2(2 * count), `height ${tree.height}`);
  for (let at = 0; at < count; at += 1) tree.remove(key(at), null);
  for (let at = 0; at < count; at += 2) tree.remove(key(at), key(at + 1));
  assert.ok(tree.height <= 1.45 * Math.log2(count / 2), `height ${tree.height}`);
  const found: number[] = [];
  tree.stab(key(4_001), found);
  tree.stab(key(4_002), found);
  assert.deepEqual(found, [4_001]);
});
