/**
 * The comparison of compactions' hashes with members that are asked by hand: who is asked for which, what is done with
 * answers, and that nobody who could not say passes for healthy.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CompactHashCheck, type CompactHashCheckContext } from '../../src/member/compact-hash-check.js';
import type { PeerCaller } from '../../src/member/peer-calls.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';
import { Method } from '../../src/wire/methods.js';
import { decode, encode } from '../../src/wire/schema.js';

const intervalMs = 60_000;
const requestTimeoutMs = 7_000;

/** Member 1 leads; the hash at a revision is the revision, where nothing else is said. */
class Stage {
  readonly check: CompactHashCheck;
  readonly raft = { isLeader: true, term: 3 };
  hashes = [10, 20, 30].map(revision => ({ hash: revision, revision, compactRevision: revision - 10 }));
  alarms: { memberID: bigint; alarm: number }[] = [];
  readonly raised: bigint[] = [];
  readonly logged: [msg: string, fields: Record<string, unknown>][] = [];
  readonly sent: [errorCode: number, hash: number][] = [];
  /** Calls that wait: member, revision, who hears the answer. */
  calls: [to: bigint, revision: number, caller: PeerCaller][] = [];
  #nowMs = 0;

  constructor(compactHashCheckIntervalMs = intervalMs) {
    const members = [1n, 2n, 3n].map(id => ({ id }));
    const context = {
      requestTimeoutMs,
      host: {
        log: (_level: string, msg: string, fields: Record<string, unknown>) => this.logged.push([msg, fields]),
      },
      open: {
        identity: { id: 1n },
        raft: this.raft,
        boot: { settings: { compactHashCheckIntervalMs } },
        state: {
          members: { list: () => members },
          applier: {
            mvcc: { currentRevision: 40 },
            alarms: () => this.alarms,
            compactionHashes: () => this.hashes,
            hashKvReply: (hash: { hash: number }) => Uint8Array.of(hash.hash),
          },
        },
      },
      peers: {
        sendReply: (_to: bigint, _id: number, error: number, bytes: Uint8Array) =>
          this.sent.push([error, bytes[0] ?? 0]),
      },
      calls: {
        call: (to: bigint, method: number, payload: Uint8Array, caller: PeerCaller) => {
          assert.equal(method, Method.KvCompact);
          this.calls.push([to, Number(decode('etcdserverpb.HashKVRequest', payload).revision), caller]);
        },
      },
      raise: (id: bigint) => this.raised.push(id),
    };
    this.check = new CompactHashCheck(context as unknown as CompactHashCheckContext);
  }

  /** One interval goes by. */
  pass(): void {
    this.check.turn(this.#nowMs);
    this.#nowMs += intervalMs;
    this.check.turn(this.#nowMs);
  }

  get asked(): string[] {
    return this.calls.map(([to, revision]) => `${to} at ${revision}`);
  }

  /** Answers by member; undefined: it cannot say. */
  answer(hashes: Readonly<Record<string, number | undefined>>): void {
    for (const [to, revision, caller] of this.calls.splice(0)) {
      const hash = hashes[String(to)];
      if (hash === undefined) caller.refused(EtcdErrorCode.Compacted);
      else {
        const fields = { hash, compact_revision: revision - 10, hash_revision: revision };
        caller.answered(encode('etcdserverpb.HashKVResponse', { header: { revision: 40 }, ...fields }));
      }
    }
  }

  get said(): string[] {
    return this.logged.splice(0).map(([msg, { revision }]) => (revision === undefined ? msg : `${msg} ${revision}`));
  }
}

const skipped = 'skipped revision in compaction hash check; was not able to check all peers';

test('the newest compaction on which all agree is checked, and not asked for again', () => {
  const stage = new Stage();
  stage.pass();
  assert.deepEqual(stage.asked, ['2 at 30', '3 at 30']);
  stage.answer({ 2: 30, 3: 30 });
  assert.deepEqual(stage.said, ['successfully checked hash on whole cluster 30', 'finished compaction hash check']);
  stage.pass();
  assert.deepEqual([stage.asked, stage.said], [[], []]);
  stage.hashes.push({ hash: 40, revision: 40, compactRevision: 30 });
  stage.pass();
  assert.deepEqual(stage.asked, ['2 at 40', '3 at 40']);
  assert.deepEqual(stage.raised, []);
});

test('with a member that cannot say, older ones are compared; one that differs among them gets the alarm', () => {
  const stage = new Stage();
  stage.pass();
  stage.answer({ 2: 30 });
  assert.deepEqual(stage.asked, ['2 at 20', '3 at 20']);
  stage.answer({ 2: 20, 3: 21 });
  assert.deepEqual(stage.said, [
    `${skipped} 30`,
    'Detected compaction hash mismatch 20',
    'finished compaction hash check',
  ]);
  assert.deepEqual(stage.raised, [3n]);
  stage.alarms = [{ memberID: 3n, alarm: 2 }];
  stage.pass();
  stage.answer({ 2: 30, 3: 31 });
  assert.deepEqual(stage.raised, [3n], 'it has the alarm');
});

test('nobody can say anything: nothing is concluded', () => {
  const stage = new Stage();
  stage.pass();
  for (const revision of [30, 20, 10]) {
    assert.deepEqual(stage.asked, [`2 at ${revision}`, `3 at ${revision}`]);
    stage.answer({});
  }
  assert.deepEqual([stage.asked, stage.raised], [[], []]);
  assert.deepEqual(stage.said, [`${skipped} 30`, `${skipped} 20`, `${skipped} 10`, 'finished compaction hash check']);
});

test('the leader is the odd one; without a majority the alarm is the whole cluster’s', () => {
  const odd = new Stage();
  odd.pass();
  odd.answer({ 2: 31, 3: 31 });
  assert.deepEqual(odd.raised, [1n]);
  const undecided = new Stage();
  undecided.pass();
  undecided.answer({ 2: 31, 3: 32 });
  assert.deepEqual(undecided.raised, [0n]);
  const halved = new Stage();
  halved.pass();
  halved.answer({ 2: 31 });
  assert.deepEqual(halved.raised, [0n]);
});

test('only a leader asks; what comes when it leads no more changes nothing; off, nobody is asked', () => {
  const stage = new Stage();
  stage.raft.isLeader = false;
  stage.pass();
  assert.deepEqual(stage.asked, []);
  stage.raft.isLeader = true;
  stage.pass();
  stage.raft.isLeader = false;
  stage.check.turn(3 * intervalMs);
  stage.answer({ 2: 31, 3: 31 });
  assert.deepEqual(stage.raised, []);
  const off = new Stage(0);
  off.pass();
  assert.deepEqual(off.asked, []);
});

test('a member that is asked says what it has and computes nothing', () => {
  const stage = new Stage();
  for (const revision of [20, 25]) stage.check.peerCall(2n, 7, encode('etcdserverpb.HashKVRequest', { revision }));
  assert.deepEqual(stage.sent, [
    [0, 20],
    [EtcdErrorCode.Compacted, 0],
  ]);
});
