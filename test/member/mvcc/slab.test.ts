import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { Slabs } from '../../../src/member/mvcc/slab.js';

test('blocks do not overlap, whatever is allocated and released in which order', () => {
  const prng = new Prng(3);
  const slabs = new Slabs(6, length => new Uint8Array(length));
  const blocks = new Map<number, { readonly address: number; readonly length: number }>();
  const fill = (address: number, length: number, mark: number): void => {
    const at = address & slabs.offsetMask;
    slabs.chunks[address >>> slabs.chunkShift]!.fill(mark, at, at + length);
  };
  for (let mark = 1; mark < 250; mark += 1) {
    const length = prng.nextBelow(5) === 0 ? 65 + prng.nextBelow(200) : 8 * (1 + prng.nextBelow(4));
    const address = slabs.allocate(length);
    fill(address, length, mark);
    blocks.set(mark, { address, length });
    if (prng.nextBelow(3) === 0) {
      const [victim, block] = [...blocks][prng.nextBelow(blocks.size)]!;
      slabs.release(block.address, block.length);
      blocks.delete(victim);
    }
    for (const [owner, { address: from, length: size }] of blocks) {
      const at = from & slabs.offsetMask;
      const content = slabs.chunks[from >>> slabs.chunkShift]!.subarray(at, at + size);
      assert.equal(content.length, size, 'a block does not leave its chunk');
      assert.ok(
        content.every(byte => byte === owner),
        'nobody else writes here',
      );
    }
  }
});

test('released blocks are used again', () => {
  const slabs = new Slabs(10, length => new Float64Array(length));
  const addresses = Array.from({ length: 100 }, () => slabs.allocate(8));
  const chunks = slabs.chunks.length;
  for (const address of addresses) slabs.release(address, 8);
  for (let count = 0; count < 100; count += 1) slabs.allocate(8);
  assert.equal(slabs.chunks.length, chunks);
  const long = slabs.allocate(5_000);
  slabs.release(long, 5_000);
  assert.equal(slabs.allocate(6_000), long, 'a long block leaves its chunk to the next long one');
});
