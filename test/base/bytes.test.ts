import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bytesToHex,
  compareBytes,
  concatBytes,
  copyBytes,
  EMPTY_BYTES,
  equalBytes,
  hexToBytes,
  readBigUint64BE,
  readUint64BE,
  utf8Decode,
  utf8Encode,
  writeBigUint64BE,
  writeUint64BE,
} from '../../src/base/bytes.js';

const bytes = (...values: number[]) => Uint8Array.from(values);

test('order is byte-wise, unsigned, a proper prefix first', () => {
  const ascending = [EMPTY_BYTES, bytes(0), bytes(0, 0), bytes(0, 255), bytes(1), bytes(127), bytes(128), bytes(255)];
  for (const [i, left] of ascending.entries()) {
    for (const [j, right] of ascending.entries()) {
      assert.equal(Math.sign(compareBytes(left, right)), Math.sign(i - j));
      assert.equal(equalBytes(left, right), i === j);
    }
  }
});

test('concatenation and copies, short and long', () => {
  assert.deepEqual(concatBytes(bytes(1), EMPTY_BYTES, bytes(2, 3)), bytes(1, 2, 3));
  for (const length of [0, 1, 16, 17, 100]) {
    const source = Uint8Array.from({ length }, (_, i) => i + 1);
    const target = new Uint8Array(length + 4);
    copyBytes(source, target, 2);
    assert.deepEqual(target, concatBytes(bytes(0, 0), source, bytes(0, 0)));
  }
});

test('hex both ways', () => {
  assert.equal(bytesToHex(bytes(0, 15, 255)), '000fff');
  assert.deepEqual(hexToBytes('00 0F ff'), bytes(0, 15, 255));
  assert.throws(() => hexToBytes('0'), /hexadecimal/);
  assert.throws(() => hexToBytes('zz'), /hexadecimal/);
});

test('UTF-8: text of every kind and length, invalid bytes, shared memory', () => {
  for (const text of ['', 'ascii', 'x'.repeat(100), 'Grüße €', '\u{1f600}'.repeat(40), '\ufeffbom', 'nul\0nul']) {
    const encoded = utf8Encode(text);
    assert.equal(utf8Decode(encoded), text);
    const shared = new Uint8Array(new SharedArrayBuffer(encoded.length + 2));
    shared.set(encoded, 1);
    assert.equal(utf8Decode(shared, 1, encoded.length + 1), text);
  }
  for (const wrong of ['ff', 'c0af', 'eda080', 'f4908080', 'e282', '80', `${'61'.repeat(80)}ff`]) {
    assert.equal(utf8Decode(hexToBytes(wrong)), undefined, wrong);
  }
});

test('big-endian 64-bit integers', () => {
  const target = new Uint8Array(10);
  for (const value of [0, 1, 255, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 5, Number.MAX_SAFE_INTEGER]) {
    writeUint64BE(target, 1, value);
    assert.equal(readUint64BE(target, 1), value);
    assert.equal(readBigUint64BE(target, 1), BigInt(value));
  }
  for (const value of [0n, 2n ** 63n, 2n ** 64n - 1n, 0x0102030405060708n]) {
    writeBigUint64BE(target, 1, value);
    assert.equal(readBigUint64BE(target, 1), value);
  }
  assert.equal(bytesToHex(target), '00010203040506070800');
  writeBigUint64BE(target, 1, 2n ** 53n);
  assert.throws(() => readUint64BE(target, 1), /safe range/);
});
