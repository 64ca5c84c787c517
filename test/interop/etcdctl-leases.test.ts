/**
 * etcdctl's lease, lock and elect commands print the same with kvorum as with real etcd, and a lease that nobody keeps
 * alive ends in the same way.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareReleases, type Stage } from '../support/control-stage.js';
import type { Family } from '../support/differential.js';

const families: readonly Family[] = ['etcd-3.5', 'etcd-3.4', 'kvorum'];

const scenarios = { leases, expiry, lock, lockOfLostLease, elect };
const granted = /lease ([0-9a-f]+) granted/;
const lockKey = /mutex\/([0-9a-f]+)\n/;

test(`etcdctl lease, lock, elect print the same with ${families.slice(1).join(', ')} as with ${families[0]}`, t =>
  compareReleases(t, families, scenarios));

async function leases(stage: Stage): Promise<void> {
  const formats = ['simple', 'json', 'fields'];
  const first = await stage.runNaming('LEASE1', granted, 'lease', 'grant', '100');
  await stage.runNaming('LEASE2', /"ID":(\d+)/, 'lease', 'grant', '300', '-w', 'json');
  await stage.runNaming('LEASE3', /"ID" : (\d+)/, 'lease', 'grant', '200', '-w', 'fields');
  for (const format of formats) await stage.run('lease', 'list', '-w', format);
  await stage.run('put', 'leased/b', 'value', `--lease=${first}`);
  await stage.run('put', 'leased/a', 'value', `--lease=${first}`);
  await stage.run('get', 'leased/', '--prefix', '-w', 'json');
  await stage.command({ flags: ['get', 'leased/a'], endpoints: 'follower' });
  for (const format of formats) {
    await stage.command({ flags: ['lease', 'timetolive', first, '--keys', '-w', format], endpoints: 'follower' });
    await stage.run('lease', 'timetolive', first, '-w', format);
    await stage.command({ flags: ['lease', 'keep-alive', first, '--once', '-w', format], endpoints: 'follower' });
  }
  const short = await stage.runNaming('LEASE4', granted, 'lease', 'grant', '3');
  const keepAlive = stage.openOnFollower('lease', 'keep-alive', short);
  await keepAlive.shows(/keepalived with TTL\(3\)/);
  await keepAlive.shows(/keepalived with TTL\(3\)/);
  await stage.run('lease', 'revoke', short);
  await stage.ended(keepAlive);
  await stage.run('put', 'leased/b', 'moved away');
  await stage.run('lease', 'revoke', first, '-w', 'json');
  await stage.run('get', 'leased/', '--prefix');
  for (const format of formats) {
    await stage.run('lease', 'timetolive', first, '-w', format);
    await stage.run('lease', 'keep-alive', first, '-w', format);
  }
  await stage.run('lease', 'keep-alive', first, '--once');
  await stage.run('lease', 'revoke', first);
  await stage.run('put', 'leased/c', 'value', `--lease=${first}`);
  await stage.runNaming('LEASE5', granted, 'lease', 'grant', '0');
  for (const wrong of [['grant'], ['grant', 'abc'], ['revoke', 'xyz'], ['timetolive'], ['grant', '9000000001']]) {
    await stage.run('lease', ...wrong);
  }
}

/** A lease of the shortest time ends by itself: its keys go in one revision, in key order. */
async function expiry(stage: Stage): Promise<void> {
  const from = `--rev=${(await stage.revision()) + 1}`;
  const watch = stage.openOnFollower('watch', 'x/', '--prefix', '--prev-kv', '-w', 'json', from);
  const lease = await stage.runNaming('SHORT', granted, 'lease', 'grant', '1');
  for (const key of ['x/b', 'x/c', 'x/a']) {
    await stage.run('put', key, `of ${key}`, `--lease=${lease}`);
    await watch.shows(/\n/);
  }
  await watch.shows(/"type":1(.*"type":1){2}/);
  await stage.end(watch);
  await stage.run('get', 'x/', '--prefix', '-w', 'json');
  await stage.run('lease', 'timetolive', lease);
  await stage.run('lease', 'keep-alive', lease, '--once');
}

async function lock(stage: Stage): Promise<void> {
  const first = stage.openOnFollower('lock', 'mutex');
  stage.name((await first.shows(lockKey))[1]!, 'LOCK1');
  await stage.run('get', 'mutex', '--prefix', '-w', 'fields');
  const second = stage.open('lock', 'mutex', '--ttl=2');
  await stage.keysBelow('mutex', 2);
  const third = stage.open('lock', 'mutex');
  await stage.keysBelow('mutex', 3);
  assert.ok(second.silent && third.silent, 'who waits says nothing');
  await stage.end(first, 'SIGINT');
  stage.name((await second.shows(lockKey))[1]!, 'LOCK2');
  assert.ok(third.silent);
  // Nobody releases this one: its lease of two seconds does.
  await stage.end(second, 'SIGKILL');
  stage.name((await third.shows(lockKey))[1]!, 'LOCK3');
  await stage.end(third, 'SIGTERM');
  await stage.keysBelow('mutex', 0);
  const printing = ['sh', '-c', 'echo "$ETCD_LOCK_KEY"; echo "revision $ETCD_LOCK_REV"; exit 3'];
  await stage.runNaming('LOCK4', lockKey, 'lock', 'mutex', '--', ...printing);
  await stage.run('lock', 'mutex', '--', 'true');
  await stage.run('lock', 'mutex', '--', '/no/such/program');
  await stage.run('lock');
  await stage.keysBelow('mutex', 0);
  await stage.run('get', 'mutex', '--prefix', '-w', 'fields');
}

/** Whose lease is revoked loses the lock and hears of it. */
async function lockOfLostLease(stage: Stage): Promise<void> {
  const holder = stage.openOnFollower('lock', 'mutex', '--ttl=3');
  const id = (await holder.shows(lockKey))[1]!;
  stage.name(id, 'LOST');
  const next = stage.open('lock', 'mutex');
  await stage.keysBelow('mutex', 2);
  await stage.run('lease', 'revoke', id);
  stage.name((await next.shows(lockKey))[1]!, 'NEXT');
  await stage.ended(holder);
  await stage.end(next);
}

async function elect(stage: Stage): Promise<void> {
  const leaderKey = /office\/([0-9a-f]+)\n/;
  const listener = stage.openOnFollower('elect', '-l', 'office');
  const first = stage.openOnFollower('elect', 'office', 'alice');
  stage.name((await first.shows(leaderKey))[1]!, 'CAMPAIGN1');
  await listener.shows(/alice\n/);
  const second = stage.open('elect', 'office', 'bob');
  await stage.keysBelow('office', 2);
  const third = stage.open('elect', 'office', 'carol');
  await stage.keysBelow('office', 3);
  assert.ok(second.silent && third.silent, 'who waits says nothing');
  await stage.end(first, 'SIGINT');
  stage.name((await second.shows(leaderKey))[1]!, 'CAMPAIGN2');
  await listener.shows(/bob\n/);
  await stage.end(second, 'SIGTERM');
  stage.name((await third.shows(leaderKey))[1]!, 'CAMPAIGN3');
  await listener.shows(/carol\n/);
  await stage.run('get', 'office', '--prefix', '-w', 'fields');
  const late = stage.open('elect', '-l', 'office');
  await late.shows(/carol\n/);
  await stage.end(third);
  await stage.end(late);
  await stage.end(listener);
  await stage.keysBelow('office', 0);
  for (const wrong of [[], ['office'], ['-l', 'office', 'dave']]) await stage.run('elect', ...wrong);
}
