/**
 * Renewals and questions for the time left, without a cluster: the member's neighbours are played by the test, which
 * decides who leads, which read is confirmed and which call is answered, refused or lost.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthStore } from '../../src/member/auth/auth-store.js';
import { KeyRights } from '../../src/member/auth/key-rights.js';
import { Callers } from '../../src/member/callers.js';
import type { HostLink } from '../../src/member/host-link.js';
import { Lessor } from '../../src/member/lease/lessor.js';
import { LeaseCalls } from '../../src/member/lease-calls.js';
import type { OpenMember } from '../../src/member/open.js';
import { PeerCalls } from '../../src/member/peer-calls.js';
import type { PeerLinks } from '../../src/member/peer-links.js';
import type { Read, Reads } from '../../src/member/reads.js';
import { MetricCells } from '../../src/transport/metric-cells.js';
import { EtcdErrorCode, etcdErrorName } from '../../src/wire/errors.js';
import { ResponseHeaderTemplate } from '../../src/wire/header.js';
import { Method } from '../../src/wire/methods.js';
import { MemoryStateStore } from '../support/memory-state-store.js';
import { decodeMessage, encodeMessage } from '../support/messages.js';

const callTimeoutMs = 1_000;
const requestTimeoutMs = 7_000;
const [nobody, me, other] = [0n, 1n, 2n];

interface SentCall {
  readonly to: bigint;
  readonly method: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

class Stage {
  readonly lessor = new Lessor({ storage: new MemoryStateStore(), minimumTtlSeconds: 2, checkpointPersist: true });
  readonly raft = { leader: nobody, isLeader: false, term: 3 };
  readonly reads: Read[] = [];
  readonly sent: SentCall[] = [];
  readonly replied: string[] = [];
  readonly cleared: bigint[] = [];
  readonly calls: PeerCalls;
  readonly leases: LeaseCalls;
  nowMs = 0;
  #heard: string[] = [];

  readonly auth = new AuthStore(new MemoryStateStore(), 300);
  readonly rights = new KeyRights(this.auth, { keysOf: () => [] });

  constructor() {
    const peers = {
      sendCall: (to: bigint, method: number, id: number, payload: Uint8Array) =>
        this.sent.push({ to, method, id, payload: payload.slice() }),
      sendReply: (to: bigint, id: number, code: EtcdErrorCode | 0, payload: Uint8Array) =>
        this.replied.push(`${to} #${id} ${code === 0 ? Buffer.from(payload).toString('hex') : etcdErrorName(code)}`),
    } as unknown as PeerLinks;
    const host = {
      message: (streamId: number, bytes: Uint8Array) => {
        const { ID, TTL } = decodeMessage('LeaseKeepAliveResponse', bytes);
        this.#heard.push(`${streamId}: ${ID}=${TTL}`);
      },
      reply: (requestId: number, bytes: Uint8Array) => {
        const { ID, TTL, grantedTTL } = decodeMessage('LeaseTimeToLiveResponse', bytes);
        this.#heard.push(`${requestId}: ${ID} ${TTL}/${grantedTTL}`);
      },
      end: (id: number, code: EtcdErrorCode) => this.#heard.push(`${id}: ${etcdErrorName(code)}`),
    } as unknown as HostLink;
    this.calls = new PeerCalls(peers, 1, callTimeoutMs);
    this.leases = new LeaseCalls({
      host,
      peers,
      calls: this.calls,
      reads: { add: (read: Read) => this.reads.push(read) } as unknown as Reads,
      open: {
        cells: new MetricCells(),
        raft: this.raft,
        state: { applier: { lessor: this.lessor, currentRevision: 1 } },
      } as unknown as OpenMember,
      header: new ResponseHeaderTemplate(9n, me),
      callers: new Callers(() => ({ auth: this.auth, rights: this.rights })),
      clearCheckpoint: id => this.cleared.push(id),
      endStream: (id, error) => {
        this.#heard.push(`${id}: ${error === undefined ? 'end' : etcdErrorName(error)}`);
        this.leases.cancel(id);
      },
    });
  }

  lead(leader: bigint): void {
    this.raft.leader = leader;
    this.raft.isLeader = leader === me;
    if (this.raft.isLeader && !this.lessor.isPrimary) this.lessor.promote(0);
    else if (!this.raft.isLeader && this.lessor.isPrimary) this.lessor.demote();
    this.calls.leaderChanged(leader);
  }

  /** A turn at `nowMs`. */
  turn(nowMs: number): void {
    this.nowMs = nowMs;
    this.lessor.advance(nowMs);
    this.calls.expire(nowMs);
    this.leases.expire(nowMs, requestTimeoutMs);
    this.leases.offer(nowMs);
  }

  /** A turn in which every read that waits is confirmed. */
  confirmed(nowMs: number): void {
    this.turn(nowMs);
    for (const read of this.reads.splice(0)) this.leases.serve(read);
  }

  keepAlive(streamId: number, ...ids: bigint[]): void {
    for (const ID of ids) {
      this.leases.keepAlive(streamId, encodeMessage('LeaseKeepAliveRequest', { ID }), this.nowMs);
    }
  }

  timeToLive(requestId: number, ID: bigint): void {
    this.leases.timeToLive(requestId, encodeMessage('LeaseTimeToLiveRequest', { ID }), this.nowMs);
  }

  /** The leader's answer to the newest call. */
  answer(...ttls: bigint[]): void {
    const { id, to } = this.sent.at(-1) ?? assert.fail('something was asked');
    const payload = new BigInt64Array(ttls);
    this.calls.reply(to, id, 0, new Uint8Array(payload.buffer));
  }

  refuse(): void {
    const { id, to } = this.sent.at(-1) ?? assert.fail('something was asked');
    this.calls.reply(to, id, EtcdErrorCode.NotLeader, new Uint8Array(0));
  }

  /** What the host was told since the last time. */
  heard(): string[] {
    return this.#heard.splice(0);
  }
}

function askedIds({ payload }: SentCall): bigint[] {
  return [...new BigInt64Array(payload.slice().buffer)];
}

test('a stream’s answers keep the order of its questions while one waits for a revocation; other streams go on', () => {
  const stage = new Stage();
  stage.lead(me);
  stage.lessor.grant(5n, 2n);
  stage.lessor.grant(6n, 60n);
  for (const id of [1, 2]) stage.leases.open(id);
  stage.nowMs = 3_000;
  stage.keepAlive(1, 5n, 6n);
  stage.keepAlive(2, 6n);
  stage.confirmed(3_000);
  assert.deepEqual(stage.heard(), ['2: 6=60']);
  stage.keepAlive(1, 99n);
  stage.confirmed(3_050);
  assert.deepEqual(stage.heard(), [], 'the newest does not overtake');
  stage.confirmed(3_150);
  assert.deepEqual(stage.heard(), []);
  stage.lessor.remove(5n);
  stage.confirmed(3_260);
  assert.deepEqual(stage.heard(), ['1: 5=0', '1: 6=60', '1: 99=0']);
});

test('through a follower: a lost round is asked again, in order and before what came later', () => {
  const stage = new Stage();
  stage.lead(other);
  stage.leases.open(1);
  stage.keepAlive(1, 5n, 6n);
  stage.turn(0);
  stage.keepAlive(1, 7n);
  stage.turn(10);
  assert.deepEqual(stage.sent.map(askedIds), [[5n, 6n]], 'one round at a time');
  stage.turn(callTimeoutMs);
  assert.deepEqual(stage.sent.map(askedIds).at(-1), [5n, 6n, 7n]);
  const [lost] = stage.sent as [SentCall];
  stage.calls.reply(lost.to, lost.id, 0, new Uint8Array(16));
  assert.deepEqual(stage.heard(), [], 'an answer that comes too late is nobody’s');
  stage.answer(60n, 0n, 30n);
  assert.deepEqual(stage.heard(), ['1: 5=60', '1: 6=0', '1: 7=30']);
  stage.leases.halfClose(1);
  assert.deepEqual(stage.heard(), ['1: end']);
});

test('a member that says it does not lead is not asked again at once', () => {
  const stage = new Stage();
  stage.lead(other);
  stage.leases.open(1);
  stage.keepAlive(1, 5n);
  stage.timeToLive(2, 5n);
  stage.turn(0);
  assert.equal(stage.sent.length, 2);
  stage.refuse();
  for (const nowMs of [1, 50, 99]) stage.turn(nowMs);
  assert.equal(stage.sent.length, 2);
  stage.turn(100);
  assert.equal(stage.sent.length, 3);
  stage.lead(me);
  stage.lessor.grant(5n, 60n);
  stage.confirmed(101);
  assert.deepEqual(stage.heard().sort(), ['1: 5=60', '2: 5 60/60']);
});

test('a read that is confirmed after the leadership was lost renews nothing, and is asked of the next leader', () => {
  const stage = new Stage();
  stage.lessor.grant(5n, 60n);
  stage.lead(me);
  stage.leases.open(1);
  stage.keepAlive(1, 5n);
  stage.timeToLive(2, 5n);
  stage.turn(0);
  stage.lead(other);
  for (const read of stage.reads.splice(0)) stage.leases.serve(read);
  assert.deepEqual(stage.heard(), []);
  stage.turn(10);
  assert.deepEqual(
    stage.sent.map(({ to, method }) => [to, method]),
    [
      [other, Method.LeaseKeepAlive],
      [other, Method.LeaseTimeToLive],
    ],
  );
});

test('a peer is told when this member does not lead, at once or when its read is confirmed', () => {
  const stage = new Stage();
  stage.lessor.grant(5n, 60n);
  const ids = new Uint8Array(new BigInt64Array([5n, 6n]).buffer);
  stage.leases.peerCall(other, Method.LeaseKeepAlive, 7, ids);
  stage.lead(me);
  stage.leases.peerCall(other, Method.KvPut, 8, ids);
  stage.leases.peerCall(other, Method.LeaseKeepAlive, 9, ids);
  stage.confirmed(0);
  stage.leases.peerCall(other, Method.LeaseKeepAlive, 10, ids);
  stage.lead(other);
  stage.confirmed(1);
  assert.deepEqual(stage.replied, [
    '2 #7 NotLeader',
    '2 #8 NotLeader',
    '2 #9 3c000000000000000000000000000000',
    '2 #10 NotLeader',
  ]);
});

test('a renewal of a lease with a checkpoint is answered when the checkpoint is forgotten', () => {
  const stage = new Stage();
  stage.lead(me);
  stage.lessor.grant(5n, 600n);
  stage.lessor.checkpoint(5n, 400);
  stage.leases.open(1);
  stage.keepAlive(1, 5n);
  stage.confirmed(0);
  assert.deepEqual([stage.cleared, stage.heard()], [[5n], []]);
  stage.lessor.checkpoint(5n, 0);
  stage.confirmed(100);
  assert.deepEqual(stage.heard(), ['1: 5=600']);
});

test('what waits too long ends with etcd’s errors, each once: in the queue, or in a round that nobody confirms', () => {
  for (const [leader, name] of [
    [nobody, 'NoLeader'],
    [me, 'Timeout'],
  ] as const) {
    const stage = new Stage();
    stage.lead(leader);
    stage.leases.open(1);
    stage.keepAlive(1, 5n, 6n);
    stage.timeToLive(2, 5n);
    stage.turn(0);
    stage.turn(requestTimeoutMs - 1);
    assert.deepEqual(stage.heard(), []);
    stage.turn(requestTimeoutMs);
    assert.deepEqual(stage.heard(), [`2: ${name}`, `1: ${name}`]);
    stage.lead(me);
    stage.confirmed(requestTimeoutMs + 1);
    stage.turn(2 * requestTimeoutMs);
    assert.deepEqual(stage.heard(), []);
  }
});

test('cancelled streams and requests leave nothing behind that is asked, answered or ended', () => {
  const stage = new Stage();
  stage.leases.open(1);
  stage.keepAlive(1, 5n);
  stage.timeToLive(2, 5n);
  stage.leases.cancel(1);
  stage.leases.cancel(2);
  stage.lead(other);
  stage.turn(0);
  assert.deepEqual(stage.sent, []);
  stage.leases.open(3);
  stage.keepAlive(3, 5n);
  stage.timeToLive(4, 5n);
  stage.turn(1);
  stage.leases.cancel(3);
  stage.leases.cancel(4);
  stage.turn(1 + callTimeoutMs);
  stage.turn(2 * requestTimeoutMs);
  stage.leases.failAll(() => assert.fail('nobody waits'));
  stage.keepAlive(3, 5n);
  assert.equal(stage.sent.length, 2);
  assert.deepEqual(stage.heard(), []);
});
