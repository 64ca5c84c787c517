/**
 * A member's defragmentation with its turns made by hand: who is answered when, what a full disk does, and a snapshot
 * of the leader that replaces the state under it, at every moment (R20, etcd #20271).
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextRound } from 'node:timers/promises';
import { Defragmentation } from '../../src/member/defragmentation.js';
import type { HostLink } from '../../src/member/host-link.js';
import { createImporter, type OpenMember, openMember, replaceState } from '../../src/member/open.js';
import { StateExporter } from '../../src/member/transfer/exporter.js';
import type { MemberBoot } from '../../src/transport/control.js';
import { temporaryDirectory } from './log/support.js';

const settings = {
  ...{ heartbeatIntervalMs: 100, electionTimeoutMs: 1_000, snapshotCount: 10_000, snapshotCatchUpEntries: 5_000 },
  ...{ maxTxnOps: 128, maxRequestBytes: 1_572_864, quotaBackendBytes: 0, leaseCheckpointIntervalMs: 0, durable: false },
};

/** A member alone, opened without a thread; its state holds `records` of a kilobyte. */
function open(directory: string, records: number, appliedIndex = 1): OpenMember {
  const identity = { id: 0xa1n, name: 'm1', peerUrls: ['http://127.0.0.1:12380'], clientUrls: [] };
  const stores = { directory, mayFound: true, settings, seed: 1 };
  const boot = { position: 0, clusterId: 1n, identity, founding: [identity], peers: [], ...stores };
  const member = openMember(boot as unknown as MemberBoot);
  const { store } = member.state;
  for (let main = 2; main < records + 2; main += 1) store.putRecord(main, 0, false, record(main));
  if (records > 0) store.setApplied(appliedIndex, 1);
  store.commit();
  return member;
}

/** A KeyValue with nothing but a key and a value. */
function record(main: number): Uint8Array {
  const key = Buffer.from(`key ${main}`);
  const value = Buffer.alloc(1_000, main);
  const length = Buffer.from([0x2a, 0xe8, 0x07]);
  return Buffer.concat([Buffer.from([0x0a, key.length]), key, Buffer.from([0x10, 2, 0x18, 2, 0x20, 1]), length, value]);
}

class Stage {
  readonly replies: number[] = [];
  readonly failures: string[] = [];
  readonly defragmentation: Defragmentation;

  constructor(readonly member: OpenMember) {
    const host = {
      log: () => {},
      reply: (id: number) => this.replies.push(id),
      end: (id: number, _code: number, detail: string) => this.failures.push(`${id} ${detail}`),
    };
    this.defragmentation = new Defragmentation(host as unknown as HostLink, member);
  }

  turns(max = 1_000): number {
    let made = 0;
    while (made < max && this.defragmentation.turn(made)) made += 1;
    return made;
  }
}

async function closed(member: OpenMember): Promise<void> {
  await Promise.all([member.log.close(), member.state.store.close()]);
}

function lastMain(member: OpenMember): number {
  let last = 0;
  member.state.store.scanRecords({ main: 0, sub: 0 }, main => {
    last = main;
    return true;
  });
  return last;
}

function stateDirectories(directory: string): string[] {
  return readdirSync(directory).filter(name => name.startsWith('state-'));
}

test('everybody who asked before a run begins is answered by it, who asks during it by the next', async t => {
  const directory = await temporaryDirectory(t);
  const stage = new Stage(open(directory, 2_000));
  assert.equal(stage.defragmentation.turn(0), false, 'nobody asked');
  stage.defragmentation.request(1);
  stage.defragmentation.request(2);
  stage.defragmentation.request(9);
  stage.defragmentation.cancel(9);
  stage.turns(2);
  stage.defragmentation.request(3);
  assert.deepEqual(stage.replies, []);
  while (stage.replies.length === 0) stage.defragmentation.turn(0);
  assert.deepEqual(stage.replies, [1, 2]);
  assert.equal(stage.member.log.stateGeneration, 2);
  stage.turns();
  assert.deepEqual(stage.replies, [1, 2, 3]);
  assert.equal(stage.member.log.stateGeneration, 3);
  await nextRound();
  assert.deepEqual(stateDirectories(directory), ['state-3']);
  await closed(stage.member);
});

test('a member that stops in the middle leaves the state it had', async t => {
  const directory = await temporaryDirectory(t);
  const stage = new Stage(open(directory, 2_000));
  stage.defragmentation.request(1);
  stage.turns(2);
  stage.defragmentation.request(2);
  const visited: number[] = [];
  stage.defragmentation.failAll(id => visited.push(id));
  assert.deepEqual(visited, [1, 2]);
  assert.deepEqual(stateDirectories(directory), ['state-1']);
  await closed(stage.member);
});

test('R20: a snapshot that replaces the state at any turn: its state is defragmented (etcd #20271)', async t => {
  for (let turns = 0; turns < 12; turns += 1) await replacedAfter(t, turns);
});

test('R20: a snapshot that began to come before a defragmentation ended is still installed (etcd #20271)', async t => {
  const directory = await temporaryDirectory(t);
  const stage = new Stage(open(directory, 2_000));
  const install = await snapshotFor(t, stage.member, 700);
  stage.defragmentation.request(1);
  stage.turns();
  assert.deepEqual(stage.replies, [1]);
  install();
  stage.defragmentation.stateReplaced();
  await checkReplaced(directory, stage.member);
});

async function replacedAfter(t: TestContext, turns: number): Promise<void> {
  const directory = await temporaryDirectory(t);
  const stage = new Stage(open(directory, 2_000));
  stage.defragmentation.request(1);
  stage.turns(turns);
  const early = stage.replies.length;
  const install = await snapshotFor(t, stage.member, 700);
  install();
  stage.defragmentation.stateReplaced();
  stage.turns();
  assert.deepEqual(stage.replies, [1], `after ${turns} turns, ${early} of them`);
  await checkReplaced(directory, stage.member);
}

/** Receives the state of another member, applied to entry 500; the returned function installs it. */
async function snapshotFor(t: TestContext, member: OpenMember, records: number): Promise<() => void> {
  const leader = open(await temporaryDirectory(t), 0);
  const { store } = leader.state;
  for (let main = 2; main < records + 2; main += 1) store.putRecord(main, 0, false, record(main));
  store.setApplied(500, 1);
  const exporter = StateExporter.start(store);
  const importer = createImporter(member);
  for (let frame = exporter.next(); frame !== undefined; frame = exporter.next()) importer.write(frame);
  exporter.close();
  importer.finish();
  await closed(leader);
  return () => {
    const former = member.log.stateGeneration;
    member.log.installSnapshot({ index: 500, term: 1, confState: member.raft.confState }, importer.generation);
    replaceState(member, former);
  };
}

/** What is written now is there after a restart, and nothing of other states is left. */
async function checkReplaced(directory: string, member: OpenMember): Promise<void> {
  assert.equal(lastMain(member), 701);
  member.state.store.putRecord(702, 0, false, record(702));
  member.state.store.commit();
  await nextRound();
  const generation = member.log.stateGeneration;
  assert.deepEqual(stateDirectories(directory), [`state-${generation}`]);
  await closed(member);
  const again = open(directory, 0);
  assert.equal(again.log.stateGeneration, generation);
  assert.equal(lastMain(again), 702);
  await closed(again);
}
