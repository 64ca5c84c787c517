import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { test } from 'node:test';
import { checkStamp, encodeStamp, inspectStamp, STAMP_FILE } from '../../../src/member/store/stamp.js';
import { StorageError } from '../../../src/member/store/storage-error.js';
import { STAMP, temporaryDirectory } from '../log/support.js';

test('a stamp is read without opening anything; a damaged one is reported', async context => {
  const directory = await temporaryDirectory(context);
  const file = path.join(directory, STAMP_FILE);
  assert.equal(inspectStamp(directory), undefined);
  assert.equal(inspectStamp(path.join(directory, 'nowhere')), undefined);
  const bytes = encodeStamp(STAMP);
  await fs.writeFile(file, bytes);
  assert.deepEqual(inspectStamp(directory), STAMP);
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = bytes.slice();
    flipped[at]! ^= 0x40;
    await fs.writeFile(file, flipped);
    assert.throws(() => inspectStamp(directory), StorageError, `byte ${at}`);
  }
  await fs.writeFile(file, bytes.subarray(1));
  assert.throws(() => inspectStamp(directory), StorageError);
});

test('a newer format is named before anything else, so that its other fields need not be understood', () => {
  const found = { clusterId: 1n, memberId: 2n, formatVersion: STAMP.formatVersion + 1 };
  assert.throws(
    () => checkStamp(STAMP, found, 'the directory'),
    /the directory was written in format 2, newer than format 1/,
  );
  checkStamp(STAMP, { ...STAMP }, 'the directory');
});
