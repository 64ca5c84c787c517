/** Versions as operators write them, and what is stored of a downgrade. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeDowngradeInfo,
  downgradeTargetOf,
  encodeDowngradeInfo,
  parseTargetVersion,
  shortVersion,
} from '../../../src/member/membership/downgrade.js';
import { Members } from '../../../src/member/membership/members.js';
import { encode } from '../../../src/wire/schema.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

test('a target version is major.minor, whatever else is written', () => {
  for (const text of ['3.5', '3.5.0', '3.5.17', '3.5.1-rc.2', '3.5.1+git', '3.5.1-a.b+c-d', '03.5']) {
    assert.equal(parseTargetVersion(text), '3.5.0', text);
  }
  for (const text of ['', 'x', '3', '3.', '.5', '3.x', 'v3.5', '3.5.1.2', '3.5.1-ü', ' 3.5', '3.5.1_']) {
    assert.equal(parseTargetVersion(text), undefined, text);
  }
  assert.equal(downgradeTargetOf('3.6.0'), '3.5.0');
  assert.equal(shortVersion('3.6.0'), '3.6');
});

test('what is stored is etcd’s JSON', () => {
  const enabled = { enabled: true, targetVersion: '3.5.0' };
  const stored = encodeDowngradeInfo(enabled);
  assert.equal(Buffer.from(stored).toString(), '{"target-version":"3.5.0","enabled":true}');
  assert.deepEqual(decodeDowngradeInfo(stored), enabled);
  assert.equal(decodeDowngradeInfo(Buffer.from('no JSON')), undefined);
});

test('the member table keeps a downgrade over a restart, and forgets it when it is cancelled', () => {
  const store = new MemoryStateStore();
  const members = new Members(store, 1);
  assert.deepEqual(members.downgrade, { enabled: false, targetVersion: '' });
  members.applyDowngrade(encode('membershippb.DowngradeInfoSetRequest', { enabled: true, ver: '3.5.0' }));
  assert.deepEqual(new Members(store, 1).downgrade, { enabled: true, targetVersion: '3.5.0' });
  members.applyDowngrade(encode('membershippb.DowngradeInfoSetRequest', {}));
  assert.deepEqual(new Members(store, 1).downgrade, { enabled: false, targetVersion: '' });
  const [, value] = store.list('cluster')[0] ?? [];
  assert.equal(Buffer.from(value ?? []).toString(), '{"target-version":"","enabled":false}');
});
