import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { DataDirectory, StartError } from '../../src/host/data-directory.js';

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const description = {
  clusterId: 'abc',
  token: 't',
  members: [{ id: '1', name: 'm1', peerUrls: ['http://a:1'] }],
  complete: false,
};

test('a founded directory tells its cluster again', () => {
  const directory = DataDirectory.open(join(base, 'data'), { ephemeral: false });
  assert.equal(directory.describe(), undefined);
  directory.record(description);
  directory.close();
  const again = DataDirectory.open(join(base, 'data'), { ephemeral: false });
  assert.deepEqual(again.describe(), { ...description, formatVersion: 1 });
  again.close();
});

test('a second host is refused while the first lives', () => {
  const directory = DataDirectory.open(base, { ephemeral: false });
  assert.throws(
    () => DataDirectory.open(base, { ephemeral: false }),
    (error: Error) => error instanceof StartError && error.message.includes(`in use by process ${process.pid}`),
  );
  directory.close();
  DataDirectory.open(base, { ephemeral: false }).close();
  assert.deepEqual(readdirSync(base), []);
});

test('the lock of a dead process is taken over, that of a reused process id too', async () => {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  writeFileSync(join(base, 'lock'), `${child.pid} 12345\n`);
  DataDirectory.open(base, { ephemeral: false }).close();
  writeFileSync(join(base, 'lock'), `${process.pid} 1\n`);
  if (existsSync('/proc/self/stat')) DataDirectory.open(base, { ephemeral: false }).close();
});

test('a newer format and a damaged description are refused with the reason', () => {
  writeFileSync(join(base, 'cluster.json'), JSON.stringify({ formatVersion: 99 }));
  const directory = DataDirectory.open(base, { ephemeral: false });
  assert.throws(() => directory.describe(), /newer kvorum/);
  writeFileSync(join(base, 'cluster.json'), '{');
  assert.throws(() => directory.describe(), /not readable as a cluster description/);
  directory.close();
});

test('an ephemeral directory goes with its host', () => {
  const path = join(base, 'ephemeral');
  const directory = DataDirectory.open(path, { ephemeral: true });
  directory.record(description);
  directory.close();
  assert.equal(existsSync(path), false);
});

test('a path that cannot be a directory is refused', () => {
  writeFileSync(join(base, 'file'), '');
  assert.throws(() => DataDirectory.open(join(base, 'file', 'x'), { ephemeral: false }), StartError);
});
