/**
 * The writer: its bytes for small databases, and that reader and checker find again what was put, whatever it is.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { DatabaseWriter } from '../../../src/snapshot/bbolt/writer.js';
import { type Content, contentOf, hexContent, problemsOf, writtenOf } from './support.js';

/** A page as words of 8 bytes in hex, zeros at the end left out. */
function words(file: Uint8Array, page: number): string[] {
  const hex = Buffer.from(file.subarray(page * 4096, (page + 1) * 4096)).toString('hex');
  return hex.replace(/(0{16})+$/, '').match(/.{1,16}/g) ?? [];
}

test('an empty database has four pages', () => {
  const file = writtenOf([]);
  assert.equal(file.length, 4 * 4096);
  const meta = [
    ...['edda0ced02000000', '0010000000000000'], // magic and version, page size and flags
    ...['0300000000000000', '0000000000000000'], // root and its sequence
    ...['0200000000000000', '0400000000000000'], // freelist, high-water mark
  ];
  // Transaction ids 1 and 0, then the checksums.
  const first = ['0000000000000000', '0400000000000000', ...meta, '0100000000000000', '0f4879511a354c26'];
  const second = ['0100000000000000', '0400000000000000', ...meta, '0000000000000000', 'eefd8946116e5107'];
  assert.deepEqual(words(file, 0), first);
  assert.deepEqual(words(file, 1), second);
  assert.deepEqual(words(file, 2), ['0200000000000000', '1000000000000000']);
  assert.deepEqual(words(file, 3), ['0300000000000000', '0200000000000000']);
  assert.deepEqual(problemsOf(file), []);
  assert.deepEqual(contentOf(file), []);
});

test('a small bucket is inline, in the only leaf of the root', () => {
  const file = writtenOf([['bucket77', [['key4key4', 'value888']]]]);
  assert.equal(file.length, 4 * 4096);
  assert.deepEqual(words(file, 3), [
    ...['0300000000000000', '0200010000000000'], // page 3: a leaf of one element
    ...['0100000010000000', '0800000040000000'], // a bucket, its name right behind; 8 bytes and 64
    Buffer.from('bucket77').toString('hex'),
    ...['0000000000000000', '0000000000000000'], // root 0: inline; sequence
    ...['0000000000000000', '0200010000000000'], // the image of a leaf
    ...['0000000010000000', '0800000008000000'],
    Buffer.from('key4key4value888').toString('hex').slice(0, 16),
    Buffer.from('key4key4value888').toString('hex').slice(16),
  ]);
  assert.deepEqual(problemsOf(file), []);
});

test('a bucket of more than a quarter page gets pages of its own', () => {
  const value = 'x'.repeat(1024 - 16 - 16 - 1);
  assert.equal(writtenOf([['b', [['k', value]]]]).length, 4 * 4096);
  const larger = writtenOf([['b', [['k', `${value}x`]]]]);
  assert.equal(larger.length, 5 * 4096);
  assert.deepEqual(words(larger, 3).slice(0, 4), [
    ...['0300000000000000', '0200010000000000'],
    ...['0000000010000000', '01000000e0030000'],
  ]);
  assert.deepEqual(problemsOf(larger), []);
});

test('a value longer than a page has overflow pages, and one longer than a chunk too', () => {
  for (const bytes of [4096, 8192, 300_000, 3_000_000]) {
    const value = new Uint8Array(bytes).fill(bytes % 251);
    const entries = [['a', 'small'] as const, ['k', value] as const, ['z', 'small'] as const];
    const content: Content = [['b', entries]];
    const file = writtenOf(content);
    assert.deepEqual(problemsOf(file), []);
    assert.deepEqual(contentOf(file), hexContent(content));
  }
});

test('branches have two children at least, however the levels end', () => {
  // Pages of 512 bytes and keys of 100: four children a branch, so that every remainder occurs on some level.
  for (let count = 1; count < 400; count += 7) {
    const entries = Array.from({ length: count }, (_, at) => [String(at).padStart(100, '0'), 'v'.repeat(300)] as const);
    const content: Content = [['b', entries]];
    const file = writtenOf(content, { pageSize: 512 });
    assert.deepEqual(problemsOf(file), []);
    assert.deepEqual(contentOf(file), hexContent(content));
    for (let page = 2; page < file.length / 512; page += 1) {
      const view = new DataView(file.buffer, file.byteOffset + page * 512);
      assert.ok(view.getUint16(8, true) !== 1 || view.getUint16(10, true) >= 2, `page ${page} of ${count} entries`);
    }
  }
});

test('random content is read again as it was put', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const content = randomContent(new Prng(seed));
    const pageSize = [512, 1024, 4096, 65_536][seed % 4] as number;
    const file = writtenOf(content, { pageSize });
    assert.deepEqual(problemsOf(file), [], `seed ${seed}`);
    assert.deepEqual(contentOf(file), hexContent(content), `seed ${seed}`);
    assert.deepEqual(writtenOf(content, { pageSize }), file, 'the same entries give the same bytes');
  }
});

test('bytes behind the last page are not part of the database', () => {
  const content: Content = [['b', [['k', 'v']]]];
  const file = Buffer.concat([writtenOf(content), Buffer.alloc(4096 + 32, 0xee)]);
  assert.deepEqual(problemsOf(file), []);
  assert.deepEqual(contentOf(file), hexContent(content));
});

test('keys and names that do not ascend are refused', () => {
  const write = (...keys: string[]) => writtenOf([['b', keys.map(key => [key, ''] as const)]]);
  assert.throws(() => write('b', 'a'), /must ascend/);
  assert.throws(() => write('a', 'a'), /must ascend/);
  assert.throws(() => write(''), /too long or empty/);
  const backwards: Content = [
    ['b', []],
    ['a', []],
  ];
  assert.throws(() => writtenOf(backwards), /must ascend/);
  // Also over the border of two pages.
  const keys = Array.from({ length: 300 }, (_, at) => `1${String(at).padStart(10, '0')}`);
  for (let count = 100; count < 300; count += 1) {
    assert.throws(() => write(...keys.slice(0, count), '0'), /must ascend/, `after ${count}`);
  }
});

test('memory is one unfinished page a level, however many entries come', () => {
  let largest = 0;
  let writtenBytes = 0;
  const before = process.memoryUsage().arrayBuffers;
  const writer = new DatabaseWriter(chunk => {
    largest = Math.max(largest, chunk.length);
    writtenBytes += chunk.length;
  });
  writer.bucket(new Uint8Array([1]));
  const key = new Uint8Array(8);
  for (let at = 0; at < 500_000; at += 1) {
    new DataView(key.buffer).setUint32(4, at);
    writer.put(key, new Uint8Array(100));
  }
  const { lengthBytes } = writer.finish();
  const grownBytes = process.memoryUsage().arrayBuffers - before;
  assert.equal(writtenBytes + 2 * 4096, lengthBytes);
  assert.ok(lengthBytes > 60 << 20);
  assert.ok(largest <= 256 << 10);
  assert.ok(grownBytes < 24 << 20, `${grownBytes} bytes of buffers are alive`);
});

/** Up to six buckets: none, few or many entries, of all lengths around the page size. */
function randomContent(prng: Prng): Content {
  return Array.from({ length: prng.nextBelow(7) }, (_, bucket) => {
    const count = [0, 1, prng.nextBelow(10), prng.nextBelow(1000)][prng.nextBelow(4)] as number;
    const keys = Array.from({ length: count }, () =>
      randomText(prng, 1 + prng.nextBelow(prng.nextBelow(20) ? 30 : 900)),
    );
    const unique = [...new Set(keys)].sort((a, b) => (a < b ? -1 : 1));
    const longest = [10, 200, 5000, 40_000][prng.nextBelow(count > 100 ? 2 : 4)] as number;
    const entries = unique.map(key => [key, randomText(prng, prng.nextBelow(longest))] as const);
    return [`bucket${bucket}`, entries] as const;
  });
}

/** Letters only: the order of UTF-16 units is that of the bytes. */
function randomText(prng: Prng, length: number): string {
  const from = prng.nextBelow(26);
  let text = '';
  for (let at = 0; at < Math.min(length, 12); at += 1) text += String.fromCharCode(97 + prng.nextBelow(26));
  return text.padEnd(length, String.fromCharCode(97 + from));
}
