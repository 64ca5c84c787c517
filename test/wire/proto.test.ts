import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, hexToBytes } from '../../src/base/bytes.js';
import { NESTING_MAX, ProtoError, ProtoReader, ProtoWriter, varintSize } from '../../src/wire/proto.js';

const reader = (hex: string) => new ProtoReader(hexToBytes(hex));

function written(write: (writer: ProtoWriter) => void): string {
  const writer = new ProtoWriter(16);
  write(writer);
  return bytesToHex(writer.finish());
}

function fails(read: () => unknown, message: string): void {
  assert.throws(read, (error: unknown) => error instanceof ProtoError && error.message === message);
}

test('varints of every length: numbers, bigints, sizes', () => {
  const cases: [bigint, string][] = [
    [0n, '00'],
    [1n, '01'],
    [127n, '7f'],
    [128n, '8001'],
    [300n, 'ac02'],
    [2n ** 14n, '808001'],
    [2n ** 21n, '80808001'],
    [2n ** 28n - 1n, 'ffffff7f'],
    [2n ** 28n, '8080808001'],
    [2n ** 32n - 1n, 'ffffffff0f'],
    [2n ** 32n, '8080808010'],
    [2n ** 35n, '808080808001'],
    [2n ** 42n, '80808080808001'],
    [2n ** 49n, '8080808080808001'],
    [2n ** 53n - 1n, 'ffffffffffffff0f'],
    [2n ** 63n - 1n, 'ffffffffffffffff7f'],
    [-1n, 'ffffffffffffffffff01'],
    [-(2n ** 63n), '80808080808080808001'],
    [-5n, 'fbffffffffffffffff01'],
  ];
  for (const [value, hex] of cases) {
    assert.equal(
      written(writer => writer.bigint64(value)),
      hex,
    );
    assert.equal(
      written(writer => writer.int64(Number(value))),
      hex,
    );
    assert.equal(reader(hex).bigint64(), value);
    assert.equal(reader(hex).int64(), Number(value));
    assert.equal(reader(hex).uint64(), BigInt.asUintN(64, value));
    if (value >= 0n && value < 2n ** 53n) {
      assert.equal(varintSize(Number(value)), hex.length / 2);
      assert.equal(
        written(writer => writer.varint(Number(value))),
        hex,
      );
      assert.equal(reader(hex).safeUint64(), Number(value));
    } else {
      fails(() => reader(hex).safeUint64(), 'proto: integer overflow');
    }
  }
});

test('numbers beyond 64 bits are clamped, not wrapped', () => {
  assert.equal(
    written(writer => writer.int64(1e300)),
    'ffffffffffffffff7f',
  );
  assert.equal(
    written(writer => writer.int64(-1e300)),
    '80808080808080808001',
  );
});

test('overlong varints are read, eleven bytes are not, bits beyond 64 are dropped', () => {
  assert.equal(reader('818000').int64(), 1);
  assert.equal(reader('80808080808080808000').int64(), 0);
  assert.equal(reader('ffffffffffffffffff7f').bigint64(), -1n);
  fails(() => reader('8080808080808080808000').int64(), 'proto: integer overflow');
  fails(() => reader('80').int64(), 'unexpected EOF');
  fails(() => reader('').bool(), 'unexpected EOF');
});

test('bool, int32 and uint32 from any varint', () => {
  assert.equal(reader('02').bool(), true);
  assert.equal(reader('80808080808080808001').bool(), true);
  assert.equal(reader('8000').bool(), false);
  assert.equal(reader('ffffffffffffffffff01').int32(), -1);
  assert.equal(reader('8180808010').int32(), 1);
  assert.equal(reader('ffffffff0f').uint32(), 2 ** 32 - 1);
});

test('lengths: beyond the end, beyond 2^53, negative', () => {
  fails(() => reader('05 61').bytes(), 'unexpected EOF');
  fails(() => reader('ffffffffffffff7f').bytes(), 'unexpected EOF');
  fails(() => reader('ffffffffffffffffff01').bytes(), 'proto: negative length found during unmarshaling');
  fails(() => reader('05 61').string(), 'unexpected EOF');
  fails(() => reader('05 61').enter(), 'unexpected EOF');
});

test('strings must be UTF-8', () => {
  assert.equal(reader('03 e282ac').string(), '€');
  fails(() => reader('02 c328').string(), 'proto: string field contains invalid UTF-8');
});

test('tags: field 0, field beyond 2^29 - 1, stray end of group', () => {
  fails(() => reader('00').tag(), 'proto: illegal tag 0 (wire type 0)');
  fails(() => reader('07').tag(), 'proto: illegal tag 0 (wire type 7)');
  fails(() => reader('8080808010').tag(), 'proto: illegal tag 536870912 (wire type 0)');
  assert.equal(reader('ffffffff0f').tag(), 2 ** 32 - 1);
  fails(() => reader('').skip(4), 'proto: wiretype end group for non-group');
  fails(() => reader('').skip(14), 'proto: illegal wireType 6');
});

test('every kind of unknown field is skipped to its end', () => {
  const skip = (tag: number, hex: string) => {
    const cursor = reader(hex);
    cursor.skip(tag);
    return cursor.offset;
  };
  assert.equal(skip(0x08, 'ac02 ff'), 2);
  assert.equal(skip(0x09, '0000000000000000 ff'), 8);
  assert.equal(skip(0x0a, '02 0000 ff'), 3);
  assert.equal(skip(0x0d, '00000000 ff'), 4);
  // A group that holds a varint, a nested group and bytes.
  assert.equal(skip(0x0b, '1001 1b 2201aa 1c 0c ff'), 8);
  for (const [tag, hex] of [
    [0x09, '00'],
    [0x0d, '000000'],
    [0x0a, '0500'],
    [0x0b, '1001'],
    [0x0b, '0b0c'],
  ] as const) {
    fails(() => skip(tag, hex), 'unexpected EOF');
  }
});

test('a known field of the wrong wire type is an error with its name', () => {
  fails(() => reader('01').skipUnknown(0x08, ['', 'Key']), 'proto: wrong wireType = 0 for field Key');
  reader('01').skipUnknown(0x10, ['', 'Key']);
});

test('an embedded message bounds what is read inside it', () => {
  const cursor = reader('02 0801 1005');
  const outer = cursor.enter();
  assert.equal(cursor.tag(), 0x08);
  assert.equal(cursor.int64(), 1);
  assert.equal(cursor.more(), false);
  cursor.leave(outer);
  assert.equal(cursor.tag(), 0x10);
  const short = reader('01 0801');
  short.enter();
  short.tag();
  fails(() => short.int64(), 'unexpected EOF');
});

test('nesting is bounded', () => {
  const nested = (levels: number) => {
    const writer = new ProtoWriter();
    const opened = Array.from({ length: levels }, () => writer.open(1));
    for (const start of opened.reverse()) writer.close(start);
    return new ProtoReader(writer.finish());
  };
  const descend = (cursor: ProtoReader) => {
    while (cursor.more()) {
      cursor.tag();
      cursor.enter();
    }
  };
  descend(nested(NESTING_MAX));
  fails(() => descend(nested(NESTING_MAX + 1)), 'proto: exceeded maximum recursion depth');
  const sequence = new ProtoReader(new Uint8Array(2 * NESTING_MAX));
  while (sequence.more()) sequence.leave(sequence.enter());
});

test('fields of proto3 leave zeros out, embedded messages do not', () => {
  assert.equal(
    written(writer => {
      writer.int64Field(1, 0);
      writer.bigint64Field(1, 0n);
      writer.boolField(1, false);
      writer.bytesField(1, new Uint8Array(0));
      writer.stringField(1, '');
    }),
    '',
  );
  assert.equal(
    written(writer => writer.messageField(2, new Uint8Array(0))),
    '1200',
  );
  assert.equal(
    written(writer => writer.close(writer.open(2))),
    '1200',
  );
  assert.equal(
    written(writer => writer.stringField(16, 'é')),
    '820102c3a9',
  );
});

test('texts of every length and alphabet', () => {
  for (const letter of ['a', 'é', '€', '\u{1f600}', '\ud800']) {
    for (const length of [1, 20, 42, 43, 64, 65, 127, 128, 6000, 16_384]) {
      const text = letter.repeat(length);
      const writer = new ProtoWriter(16);
      writer.stringField(3, text);
      writer.boolField(4, true);
      const cursor = new ProtoReader(writer.finish());
      assert.equal(cursor.tag(), 0x1a);
      assert.deepEqual(Buffer.from(cursor.bytes()), Buffer.from(text));
      assert.equal(cursor.tag(), 0x20);
    }
  }
});

test('embedded messages of every length get the shortest length, and finished messages stay as they are', () => {
  const writer = new ProtoWriter(16);
  const finished: [Uint8Array, number][] = [];
  for (const length of [0, 1, 100, 127, 128, 129, 200, 16_383, 16_384, 70_000]) {
    const outer = writer.reset().open(1);
    const inner = writer.open(1);
    writer.raw(new Uint8Array(length).fill(length));
    writer.close(inner);
    writer.close(outer);
    writer.int64Field(2, length);
    finished.push([writer.finish(), length]);
  }
  for (const [bytes, length] of finished) {
    const cursor = new ProtoReader(bytes);
    assert.equal(cursor.tag(), 0x0a);
    const end = cursor.enter();
    assert.equal(cursor.tag(), 0x0a);
    assert.deepEqual(cursor.bytes(), new Uint8Array(length).fill(length));
    cursor.leave(end);
    const head = 1 + varintSize(length);
    const whole = 1 + varintSize(head + length) + head + length + (length === 0 ? 0 : 1 + varintSize(length));
    assert.equal(bytes.length, whole);
  }
});

test('reset drops an unfinished message only', () => {
  const writer = new ProtoWriter(64);
  writer.int64Field(1, 1);
  const first = writer.finish();
  writer.int64Field(1, 2);
  writer.reset().int64Field(1, 3);
  assert.equal(writer.length, 2);
  assert.equal(bytesToHex(writer.finish()), '0803');
  assert.equal(bytesToHex(first), '0801');
});

test('a view is valid until the next message, which takes its place; no slab outlives a very large message', () => {
  const writer = new ProtoWriter(16);
  writer.reset().int64Field(1, 1);
  const kept = writer.finish();
  const views = [100_000, 100_001, 10_000_000, 3].map(length => {
    writer.reset().messageField(2, new Uint8Array(length).fill(7));
    const view = writer.view();
    assert.equal(view.at(-1), 7);
    return view;
  });
  assert.deepEqual(
    views.map(view => view.buffer === views[0]?.buffer),
    [true, true, false, false],
  );
  assert.ok((views[3]?.buffer.byteLength ?? 0) < 1_000);
  assert.equal(bytesToHex(kept), '0801');
});
