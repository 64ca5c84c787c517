import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Scratch } from '../../../src/member/log/log-codec.js';
import {
  createWalFile,
  readWalFile,
  WAL_RECORD_HEADER_BYTES,
  WAL_RECORDS_START,
  WalFile,
  type WalHeader,
  walRecordBytes,
} from '../../../src/member/log/wal-file.js';
import { StorageError } from '../../../src/member/store/storage-error.js';
import { SimulatedFiles } from './simulated-files.js';
import { STAMP } from './support.js';

const FILE = '/d/wal-0';
const CAPACITY = 32 << 10;
const FIRST: WalHeader = { generation: 1, seed: 0x5eed, firstSequence: 10 };

function fresh(): { files: SimulatedFiles; wal: WalFile } {
  const files = new SimulatedFiles();
  createWalFile(files, FILE, STAMP, FIRST, CAPACITY);
  const wal = new WalFile(files, FILE, STAMP, CAPACITY);
  wal.reset(FIRST);
  return { files, wal };
}

function append(wal: WalFile, sequence: number, payload: Uint8Array): void {
  const scratch = new Scratch(64);
  scratch.length = WAL_RECORD_HEADER_BYTES;
  scratch.reserve(payload.length);
  scratch.bytes.set(payload, WAL_RECORD_HEADER_BYTES);
  scratch.length += payload.length;
  wal.append(scratch, 3, sequence);
}

function payloadOf(sequence: number, length: number): Uint8Array {
  return new Uint8Array(length).fill(sequence);
}

function sequences(files: SimulatedFiles): number[] {
  return readWalFile(files, FILE, STAMP).records.map(record => record.sequence);
}

const corrupt = (error: unknown) => error instanceof StorageError && error.kind === 'corrupt';

describe('write-ahead file', () => {
  test('gives back records of every length as they were written', () => {
    const { files, wal } = fresh();
    const lengths = [1, 2, 7, 8, 9, 31, 511, 512, 513, 5000];
    lengths.forEach((length, at) => {
      append(wal, 10 + at, payloadOf(10 + at, length));
    });
    const { records, header } = readWalFile(files, FILE, STAMP);
    assert.deepEqual(header, FIRST);
    assert.deepEqual(
      records.map(record => ({ ...record, payload: record.payload.slice() })),
      lengths.map((length, at) => ({ type: 3, sequence: 10 + at, payload: payloadOf(10 + at, length) })),
    );
  });

  test('a last record cut at any byte is dropped, the ones before stay', () => {
    const { files, wal } = fresh();
    append(wal, 10, payloadOf(10, 100));
    append(wal, 11, payloadOf(11, 50));
    const before = files.content(FILE).synced.slice();
    append(wal, 12, payloadOf(12, 333));
    const whole = files.content(FILE).synced.slice();
    const start = WAL_RECORDS_START + walRecordBytes(100) + walRecordBytes(50);
    const end = start + WAL_RECORD_HEADER_BYTES + 333;
    for (let cut = start; cut < end; cut += 1) {
      files.damage(FILE, bytes => {
        bytes.set(before);
        bytes.set(whole.subarray(start, cut), start);
      });
      assert.deepEqual(sequences(files), [10, 11], `cut at byte ${cut - start}`);
    }
    files.damage(FILE, bytes => bytes.set(whole));
    assert.deepEqual(sequences(files), [10, 11, 12]);
  });

  test('any flipped bit before the last record is reported, never skipped', () => {
    const { files, wal } = fresh();
    for (let sequence = 10; sequence < 14; sequence += 1) append(wal, sequence, payloadOf(sequence, 60));
    const lastStart = WAL_RECORDS_START + 3 * walRecordBytes(60);
    for (let bit = WAL_RECORDS_START * 8; bit < lastStart * 8; bit += 1) {
      const isPadding = ((bit >> 3) - WAL_RECORDS_START) % walRecordBytes(60) >= WAL_RECORD_HEADER_BYTES + 60;
      const flip = (bytes: Uint8Array) => {
        bytes[bit >> 3]! ^= 1 << (bit & 7);
      };
      files.damage(FILE, flip);
      if (isPadding) assert.deepEqual(sequences(files), [10, 11, 12, 13]);
      else assert.throws(() => sequences(files), corrupt, `bit ${bit}`);
      files.damage(FILE, flip);
    }
  });

  test('a zeroed sector in the middle is reported', () => {
    const { files, wal } = fresh();
    for (let sequence = 10; sequence < 30; sequence += 1) append(wal, sequence, payloadOf(sequence, 200));
    files.damage(FILE, bytes => bytes.fill(0, WAL_RECORDS_START + 1024, WAL_RECORDS_START + 1536));
    assert.throws(() => sequences(files), corrupt);
  });

  test('one damaged header copy is survived, two are reported', () => {
    const { files, wal } = fresh();
    append(wal, 10, payloadOf(10, 100));
    files.damage(FILE, bytes => {
      bytes[9]! ^= 1;
    });
    assert.deepEqual(sequences(files), [10]);
    files.damage(FILE, bytes => {
      bytes[4096 + 20]! ^= 0x80;
    });
    assert.throws(() => sequences(files), corrupt);
  });

  test('records of a former use are never taken, however the reset and the next records tear', () => {
    for (let seed = 0; seed < 200; seed += 1) {
      const { files, wal } = fresh();
      for (let sequence = 10; sequence < 60; sequence += 1) append(wal, sequence, payloadOf(sequence, 300));
      let durable: number[] = [];
      let attempted: number[] = [];
      let random = seed;
      const survives = () => {
        random = (random * 1103515245 + 12345) & 0x7fffffff;
        return (random & 0x10000) !== 0;
      };
      let syncsLeft = seed % 5;
      files.beforeSync = () => {
        if (syncsLeft === 0) throw new Error('power cut');
        syncsLeft -= 1;
      };
      try {
        wal.reset({ generation: 2, seed: 77 + seed, firstSequence: 60 });
        for (let sequence = 60; sequence < 66; sequence += 1) {
          attempted = [...durable, sequence];
          append(wal, sequence, payloadOf(sequence, 300));
          durable = attempted;
        }
      } catch {
        files.crash(survives);
      }
      const { header, records } = readWalFile(files, FILE, STAMP);
      const found = records.map(record => record.sequence);
      if (header.generation === 1) {
        assert.equal(durable.length, 0);
        continue;
      }
      assert.deepEqual(found.slice(0, durable.length), durable);
      assert.ok(found.length === durable.length || found.length === attempted.length, `seed ${seed}: ${found}`);
    }
  });

  test('refuses a file of another member', () => {
    const { files } = fresh();
    assert.throws(() => readWalFile(files, FILE, { ...STAMP, memberId: 5n }), corrupt);
  });
});
