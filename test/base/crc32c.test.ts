import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c, crc32cBehind } from '../../src/base/crc32c.js';

/** The definition, one bit at a time. */
function reference(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function pseudoRandomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 0x9e3779b9;
  for (let at = 0; at < length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

test('the published check values', () => {
  const zeros = new Uint8Array(32);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(0)), 0);
  // RFC 3720 appendix B.4
  assert.equal(crc32c(zeros), 0x8a9136aa);
  assert.equal(crc32c(zeros.map(() => 0xff)), 0x62a8ab43);
  assert.equal(crc32c(zeros.map((_, at) => at)), 0x46dd794e);
  assert.equal(crc32c(zeros.map((_, at) => 31 - at)), 0x113fdb5c);
});

test('every length and alignment agrees with the definition', () => {
  const bytes = pseudoRandomBytes(96);
  for (let from = 0; from < 9; from += 1) {
    for (let to = from; to <= bytes.length; to += 1) {
      const part = bytes.subarray(from, to);
      assert.equal(crc32c(part), reference(part));
    }
  }
});

test('pieces give the checksum of the whole', () => {
  const bytes = pseudoRandomBytes(257);
  const whole = crc32c(bytes);
  for (let split = 0; split <= bytes.length; split += 1) {
    assert.equal(crc32c(bytes.subarray(split), crc32c(bytes.subarray(0, split))), whole);
  }
});

test('long inputs, however they lie, are cut and shared, agree with the definition', () => {
  const memory = new SharedArrayBuffer(300_000);
  const bytes = new Uint8Array(memory);
  bytes.set(pseudoRandomBytes(bytes.length));
  const lengths = [127, 128, 129, 143, 144, 1000, 4099, 49_151, 49_152, 49_153, 49_168, 98_304, 98_321, 299_990];
  for (const [at, length] of lengths.entries()) {
    const part = bytes.subarray(at % 11, (at % 11) + length);
    const expected = reference(part);
    assert.equal(crc32c(part), expected, `${length} bytes`);
    const split = (length * (2 * at + 1)) >> 5;
    const third = split >> 1;
    const first = crc32c(part.subarray(third, split), crc32c(part.subarray(0, third)));
    assert.equal(crc32c(part.subarray(split), first), expected, `${length} bytes in three pieces`);
  }
});

test('random lengths, offsets and splits agree with the definition', () => {
  const bytes = pseudoRandomBytes(20_000);
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  for (let round = 0; round < 300; round += 1) {
    const from = below(bytes.length);
    const part = bytes.subarray(from, from + below(round % 2 === 0 ? 400 : 8_000));
    const split = below(part.length + 1);
    assert.equal(crc32c(part.subarray(split), crc32c(part.subarray(0, split))), reference(part));
  }
});

test('a checksum behind something else is known without the bytes', () => {
  const bytes = pseudoRandomBytes(70_000);
  for (const length of [0, 1, 2, 17, 255, 256, 257, 1_000, 65_535, 65_536, 65_793]) {
    const part = bytes.subarray(3, 3 + length);
    for (const previous of [0, 1, 0x80000000, 0xffffffff, 0x12345678]) {
      for (const former of [0, 0xffffffff, 0x9e3779b1]) {
        assert.equal(crc32cBehind(previous, crc32c(part, former), former, length), crc32c(part, previous));
      }
    }
  }
});
