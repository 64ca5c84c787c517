/**
 * etcdctl's alarm, defrag and move-leader print the same with kvorum as with real etcd, and while an alarm is active
 * the same commands are refused. Alarms are raised, and downgrades asked for, through the JSON gateway: etcdctl of these
 * releases has no words for it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareReleases, type Stage } from '../support/control-stage.js';
import type { Family } from '../support/differential.js';

// 3.4 is left out: its alarm answers have no header and it knows no downgrades.
const families: readonly Family[] = ['etcd-3.5', 'kvorum'];

const scenarios = { noSpace, corrupt, defragment, moveLeader, downgrade };

test(`etcdctl alarm, defrag, move-leader print the same with ${families[1]} as with ${families[0]}`, t =>
  compareReleases(t, families, scenarios));

interface Seen {
  readonly endpoint: string;
  readonly id: string;
  readonly leads: boolean;
}

const formats = ['simple', 'json', 'fields'];

async function noSpace(stage: Stage): Promise<void> {
  const [leader, follower] = await seen(stage);
  await stage.run('put', 'k', 'v');
  for (const format of formats) await stage.run('alarm', 'list', '-w', format);
  await raise(follower.endpoint, leader.id, 'NOSPACE');
  await raise(follower.endpoint, leader.id, 'NOSPACE');
  for (const format of formats) await stage.run('alarm', 'list', '-w', format);
  for (const endpoints of ['leader', 'follower'] as const) {
    await stage.command({ flags: ['put', 'k', 'v'], endpoints });
    await stage.command({ flags: ['lease', 'grant', '100'], endpoints });
    await stage.command({ flags: ['txn'], endpoints, input: '\nput k v\n\n\n' });
    await stage.command({ flags: ['txn'], endpoints, input: '\nget k\n\n\n' });
    await stage.command({ flags: ['get', 'k'], endpoints });
  }
  await stage.run('endpoint', 'health');
  await stage.run('endpoint', 'status');
  await stage.run('del', 'k');
  await stage.run('compaction', String(await stage.revision()));
  await stage.run('defrag');
  await stage.run('put', 'k', 'v');
  await stage.run('alarm', 'disarm');
  await stage.run('alarm', 'disarm', '-w', 'json');
  await stage.run('alarm', 'list');
  await stage.run('put', 'k', 'v');
}

async function corrupt(stage: Stage): Promise<void> {
  const [leader, follower] = await seen(stage);
  await raise(leader.endpoint, follower.id, 'CORRUPT');
  await stage.run('alarm', 'disarm', '-w', 'unknown');
  for (const command of [
    ['put', 'k', 'v'],
    ['del', 'k'],
    ['compaction', '1'],
    ['lease', 'grant', '9'],
    ['get', 'k'],
  ]) {
    await stage.run(...command);
  }
  await stage.run('endpoint', 'health');
  await stage.quiet({ flags: ['alarm', 'disarm'] });
  await stage.run('alarm', 'list');
  await stage.run('put', 'k', 'v');
}

async function defragment(stage: Stage): Promise<void> {
  await stage.run('defrag');
  await stage.command({ flags: ['defrag'], endpoints: 'all' });
  const { stdout, code } = await stage.quiet({ flags: ['defrag', '--cluster'] });
  assert.equal(code, 0);
  assert.equal(stdout.match(/Finished defragmenting etcd member/g)?.length, 3, stdout);
  await stage.command({ flags: ['endpoint', 'hashkv', '--rev=1', '-w', 'json'], endpoints: 'all' });
}

async function moveLeader(stage: Stage): Promise<void> {
  const [leader, follower] = await seen(stage);
  for (const wrong of [[], ['xyz'], ['fff']]) await stage.run('move-leader', ...wrong);
  await stage.command({ flags: ['move-leader', follower.id], endpoints: 'follower' });
  await stage.run('move-leader', leader.id);
  await stage.run('move-leader', follower.id);
  assert.equal((await seen(stage))[0].id, follower.id);
  await stage.run('put', 'k', 'v');
  await stage.command({ flags: ['move-leader', leader.id, '-w', 'json'], endpoints: 'all' });
  assert.equal((await seen(stage))[0].id, leader.id);
}

async function downgrade(stage: Stage): Promise<void> {
  const [, { endpoint }] = await seen(stage);
  const { etcdcluster } = (await (await fetch(`http://${endpoint}/version`)).json()) as { etcdcluster: string };
  const [major, minor] = etcdcluster.split('.').map(Number) as [number, number];
  const ask = async (action: string, version: string): Promise<void> => {
    const { status, body } = await post(endpoint, 'downgrade', { action, version });
    // The gateway of older releases names the text twice.
    const { header: _, error: __, version: answered, ...rest } = body;
    const output = { ...rest, version: String(answered).replace(/^\d+\.\d+(\.0)?$/, '<cluster version>') };
    const shown = version.replace(`${major}.${minor - 1}`, '<target>').replace(`${major}.${minor}.0`, '<own>');
    stage.results.push({ command: `downgrade ${action} ${shown}`, code: status, output, errors: [] });
  };
  const target = `${major}.${minor - 1}`;
  const own = `${major}.${minor}.0`;
  for (const version of ['', 'x', '3', '3.x', '9.8.7.6', '3.0', '2.9', own, target, `${target}.7-rc.1+build`]) {
    await ask('VALIDATE', version);
  }
  // 3.5 never answers one that it accepts, nor its end.
  for (const version of ['x', '3.0']) await ask('ENABLE', version);
}

/** The leader and another member, as they are now. */
async function seen(stage: Stage): Promise<[leader: Seen, follower: Seen]> {
  const { stdout } = await stage.quiet({ flags: ['endpoint', 'status', '-w', 'json'], endpoints: 'all' });
  const statuses = JSON.parse(stdout.replaceAll(/:(\d{16,})\b/g, ':"$1"')) as {
    Endpoint: string;
    Status: { header: { member_id: string }; leader: string };
  }[];
  const all = statuses.map(({ Endpoint, Status }) => ({
    endpoint: Endpoint,
    id: BigInt(Status.header.member_id).toString(16),
    leads: Status.header.member_id === Status.leader,
  }));
  const leader = all.find(({ leads }) => leads);
  // Always the same one: the first in the order of the labels.
  const follower = all.find(({ leads }) => !leads);
  assert.ok(leader !== undefined && follower !== undefined, stdout);
  return [leader, follower];
}

async function raise(endpoint: string, memberId: string, alarm: string): Promise<void> {
  const memberID = BigInt(`0x${memberId}`).toString();
  const { status, body } = await post(endpoint, 'alarm', { action: 'ACTIVATE', memberID, alarm });
  assert.equal(status, 200, JSON.stringify(body));
}

async function post(endpoint: string, method: string, request: object) {
  const response = await fetch(`http://${endpoint}/v3/maintenance/${method}`, {
    method: 'POST',
    body: JSON.stringify(request),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
