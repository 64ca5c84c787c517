/**
 * The corruption check with members that are asked by hand: who is asked for what, who is asked again, what becomes of
 * the answers, and that nobody who was not heard passes for healthy (R39).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CorruptionCheck, type CorruptionCheckContext } from '../../src/member/corruption-check.js';
import type { PeerCaller } from '../../src/member/peer-calls.js';
import { EtcdErrorCode } from '../../src/wire/errors.js';
import { decode, encode } from '../../src/wire/schema.js';

const electionTimeoutMs = 1_000;
const intervalMs = 10_000;

interface Answer {
  readonly hash: number;
  readonly revision?: number;
  readonly compactRevision?: number;
  readonly current?: number;
}

function response({ hash, revision = 20, compactRevision = 5, current = revision }: Answer): Uint8Array {
  const fields = { hash, compact_revision: compactRevision, hash_revision: revision };
  return encode('etcdserverpb.HashKVResponse', { header: { revision: current }, ...fields });
}

class Stage {
  readonly check: CorruptionCheck;
  readonly raft = { leader: 1n, isLeader: true, term: 3 };
  own: Answer = { hash: 7 };
  alarms: { memberID: bigint; alarm: number }[] = [];
  readonly raised: bigint[] = [];
  readonly logged: [msg: string, fields: Record<string, unknown>][] = [];
  /** Calls that wait, by member. */
  readonly calls = new Map<bigint, PeerCaller>();
  readonly asked: [to: bigint, revision: number][] = [];
  reads = 0;
  #nowMs = 0;

  constructor(settings: { readonly initial?: boolean; readonly intervalMs?: number } = {}) {
    const members = [1n, 2n, 3n].map(id => ({ id }));
    const context = {
      host: {
        log: (_level: string, msg: string, fields: Record<string, unknown>) => this.logged.push([msg, fields]),
      },
      open: {
        identity: { id: 1n, name: 'm1' },
        raft: this.raft,
        boot: {
          settings: {
            electionTimeoutMs,
            corruptCheckIntervalMs: settings.intervalMs ?? intervalMs,
            initialCorruptCheck: settings.initial ?? false,
          },
        },
        state: {
          members: { list: () => members },
          applier: {
            alarms: () => this.alarms,
            hashKv: (_revision: number, _term: unknown, done: (bytes: Uint8Array) => void) => done(response(this.own)),
          },
        },
      },
      peers: {},
      calls: {
        call: (to: bigint, _method: number, payload: Uint8Array, caller: PeerCaller) => {
          this.calls.set(to, caller);
          this.asked.push([to, Number(decode('etcdserverpb.HashKVRequest', payload).revision)]);
        },
      },
      reads: {
        add: () => {
          this.reads += 1;
        },
      },
      raise: (id: bigint) => this.raised.push(id),
    };
    this.check = new CorruptionCheck(context as unknown as CorruptionCheckContext);
  }

  /** Turns every 100 ms for that long. */
  pass(ms: number): void {
    for (const untilMs = this.#nowMs + ms; this.#nowMs < untilMs; ) {
      this.#nowMs += 100;
      this.check.turn(this.#nowMs);
    }
  }

  answer(id: bigint, answer: Answer): void {
    this.#taken(id).answered(response(answer));
  }

  refuse(id: bigint, error: EtcdErrorCode): void {
    this.#taken(id).refused(error);
  }

  lose(id: bigint): void {
    this.#taken(id).lost();
  }

  /** The last check's outcome as it was logged. */
  outcome(): Record<string, unknown> | undefined {
    return this.logged.filter(([msg]) => msg === 'finished peer corruption check').at(-1)?.[1];
  }

  #taken(id: bigint): PeerCaller {
    const caller = this.calls.get(id);
    assert.ok(caller !== undefined, `member ${id} was asked`);
    this.calls.delete(id);
    return caller;
  }
}

test('equal members: everybody is asked for the leader’s revision, the leader confirms, nothing is raised', () => {
  const stage = new Stage();
  stage.pass(intervalMs + 300);
  assert.deepEqual(stage.asked, [
    [2n, 20],
    [3n, 20],
  ]);
  stage.answer(2n, { hash: 7 });
  stage.answer(3n, { hash: 7 });
  assert.equal(stage.reads, 0);
  stage.pass(100);
  assert.equal(stage.reads, 1);
  assert.equal(stage.outcome(), undefined);
  stage.check.confirmed();
  assert.deepEqual(stage.outcome(), { revision: 20, agreeing: 2, different: 0, unknown: '' });
  assert.deepEqual(stage.raised, []);
  stage.pass(intervalMs);
  assert.equal(stage.asked.length, 4, 'and again');
});

test('a member that differs gets the alarm, once', () => {
  const stage = new Stage();
  for (let round = 0; round < 2; round++) {
    stage.pass(intervalMs + 300);
    stage.answer(2n, { hash: 7 });
    stage.answer(3n, { hash: 8 });
    stage.pass(100);
    stage.check.confirmed();
    stage.alarms = [{ memberID: 3n, alarm: 2 }];
  }
  assert.deepEqual(stage.raised, [3n]);
});

test('a member that has not come so far is asked again; one that stays silent is unknown, and said to be', () => {
  const stage = new Stage();
  stage.pass(intervalMs + 200);
  stage.refuse(2n, EtcdErrorCode.FutureRev);
  stage.lose(3n);
  stage.pass(200);
  assert.equal(stage.asked.length, 4);
  stage.answer(2n, { hash: 7 });
  stage.pass(30 * electionTimeoutMs);
  assert.equal(stage.reads, 1);
  stage.check.confirmed();
  assert.deepEqual(stage.outcome(), { revision: 20, agreeing: 1, different: 0, unknown: '3' });
  assert.deepEqual(stage.raised, []);
});

test('a member that has compacted further, or refuses, is unknown', () => {
  const stage = new Stage();
  stage.pass(intervalMs + 200);
  stage.refuse(2n, EtcdErrorCode.Compacted);
  stage.answer(3n, { hash: 1, compactRevision: 9 });
  stage.pass(100);
  stage.own = { hash: 7, revision: 30, compactRevision: 9 };
  stage.check.confirmed();
  assert.deepEqual(stage.outcome(), { revision: 20, agreeing: 0, different: 0, unknown: '2,3' });
  assert.deepEqual(stage.raised, []);
});

test('only a leader asks, and one that does not lead to the end concludes nothing', () => {
  const stage = new Stage();
  stage.raft.isLeader = false;
  stage.pass(3 * intervalMs);
  assert.deepEqual(stage.asked, []);
  stage.raft.isLeader = true;
  stage.pass(intervalMs + 200);
  stage.answer(2n, { hash: 8 });
  stage.answer(3n, { hash: 8 });
  stage.pass(100);
  stage.raft.isLeader = false;
  stage.pass(100);
  stage.check.confirmed();
  stage.check.unconfirmed();
  assert.deepEqual(stage.raised, []);
  assert.equal(stage.outcome(), undefined);
});

test('off: nobody is asked', () => {
  const stage = new Stage({ intervalMs: 0 });
  stage.pass(100_000);
  assert.deepEqual(stage.asked, []);
  assert.equal(stage.check.passedInitial, true);
});

test('at start: a member that agrees serves, one that differs from the majority ends', () => {
  const good = new Stage({ initial: true, intervalMs: 0 });
  good.raft.isLeader = false;
  good.raft.leader = 0n;
  good.pass(2_000);
  assert.deepEqual(good.asked, [], 'it waits for a leader');
  good.raft.leader = 2n;
  good.pass(200);
  assert.equal(good.check.passedInitial, false);
  good.answer(2n, { hash: 7 });
  good.answer(3n, { hash: 8 });
  good.pass(100);
  assert.equal(good.check.passedInitial, true, 'member 3 is the odd one');

  const odd = new Stage({ initial: true });
  odd.pass(200);
  odd.answer(2n, { hash: 8 });
  odd.answer(3n, { hash: 8 });
  assert.throws(() => odd.pass(100), /member m1 \(1\) found data inconsistency with peers at revision 20/);

  const undecided = new Stage({ initial: true });
  undecided.pass(200);
  undecided.answer(2n, { hash: 8 });
  undecided.lose(3n);
  assert.throws(() => undecided.pass(6 * electionTimeoutMs), /data inconsistency/);
});

test('at start: alone, it serves and says that nobody was heard', () => {
  const stage = new Stage({ initial: true });
  for (let at = 0; at < 10; at++) {
    stage.pass(600);
    for (const id of [...stage.calls.keys()]) stage.lose(id);
  }
  assert.equal(stage.check.passedInitial, true);
  const [msg, fields] = stage.logged.at(-1) ?? [];
  assert.equal(msg, 'initial corruption checking is incomplete');
  assert.deepEqual(fields, { revision: 20, unknown: '2,3' });
});
