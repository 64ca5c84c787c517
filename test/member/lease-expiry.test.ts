/** What a leader proposes about leases, when, and that nobody else proposes anything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthStore } from '../../src/member/auth/auth-store.js';
import { Lessor } from '../../src/member/lease/lessor.js';
import { LeaseExpiry } from '../../src/member/lease-expiry.js';
import type { OpenMember } from '../../src/member/open.js';
import { Proposals } from '../../src/member/proposals.js';
import { MetricCells } from '../../src/transport/metric-cells.js';
import { decodeInternalRequest, InternalField, newInternalRequest } from '../../src/wire/internal.js';
import { decode } from '../../src/wire/schema.js';
import { MemoryStateStore } from '../support/memory-state-store.js';

const electionTimeoutMs = 1_000;

class Stage {
  readonly lessor = new Lessor({ storage: new MemoryStateStore(), minimumTtlSeconds: 2, checkpointPersist: true });
  readonly raft = { isLeader: false, propose: (entries: { data: Uint8Array }[]) => entries.forEach(this.#take, this) };
  readonly expiry: LeaseExpiry;
  /** Who the entries name. */
  readonly identities = new Set<string>();
  readonly auth = new AuthStore(new MemoryStateStore(), 300);
  #nowMs = 0;
  #proposed: string[] = [];

  constructor(leaseCheckpointIntervalMs = 0) {
    const open = {
      cells: new MetricCells(),
      raft: this.raft,
      state: { applier: { lessor: this.lessor, auth: this.auth } },
      boot: { settings: { electionTimeoutMs, leaseCheckpointIntervalMs } },
    };
    this.expiry = new LeaseExpiry(open as unknown as OpenMember, new Proposals(0), 7);
  }

  lead(leads: boolean): void {
    this.raft.isLeader = leads;
    this.expiry.leads(leads);
  }

  turn(nowMs: number): string[] {
    this.#nowMs = nowMs;
    this.lessor.advance(nowMs);
    this.expiry.turn(nowMs);
    return this.proposed();
  }

  /** Turns every 500 ms until then. */
  pass(untilMs: number): string[] {
    const proposed: string[] = [];
    while (this.#nowMs < untilMs) proposed.push(...this.turn(Math.min(untilMs, this.#nowMs + 500)));
    return proposed;
  }

  proposed(): string[] {
    return this.#proposed.splice(0);
  }

  #take({ data }: { data: Uint8Array }): void {
    const request = newInternalRequest();
    decodeInternalRequest(data, request);
    const { bodyEnd, bodyStart, field, idMember } = request;
    assert.equal(idMember, 7);
    this.identities.add(`${request.username}@${request.authRevision}`);
    if (field === InternalField.LeaseRevoke) {
      this.#proposed.push(`revoke ${decode('etcdserverpb.LeaseRevokeRequest', data, bodyStart, bodyEnd).ID}`);
      return;
    }
    assert.equal(field, InternalField.LeaseCheckpoint);
    for (const checkpoint of decode('etcdserverpb.LeaseCheckpointRequest', data, bodyStart, bodyEnd).checkpoints) {
      this.#proposed.push(`checkpoint ${checkpoint.ID} ${checkpoint.remaining_TTL}`);
    }
  }
}

test('only who leads lets leases expire, after an election timeout more than their TTL (L2, L7)', () => {
  const stage = new Stage();
  stage.lessor.grant(5n, 2n);
  stage.lessor.grant(-6n, 2n);
  assert.deepEqual(stage.pass(10_000), []);
  stage.lead(true);
  assert.deepEqual(stage.pass(12_999), []);
  assert.deepEqual(stage.turn(13_000), ['revoke 5', 'revoke -6']);
  assert.deepEqual(stage.pass(15_900), [], 'asked once');
  // Raft knows that it does not lead any more before anybody has been told.
  stage.raft.isLeader = false;
  assert.deepEqual(stage.pass(20_000), []);
  stage.lead(false);
  assert.deepEqual(stage.pass(30_000), []);
});

test('with auth on the leader revokes as root, at the present auth revision', () => {
  const stage = new Stage();
  stage.lead(true);
  stage.lessor.grant(5n, 2n);
  assert.deepEqual(stage.pass(2_000), ['revoke 5']);
  assert.deepEqual([...stage.identities], ['@0']);
  stage.auth.addUser('root', Buffer.from('hash'), false);
  stage.auth.grantRole('root', 'root');
  assert.equal(stage.auth.enable(), undefined);
  assert.deepEqual(stage.pass(5_000), ['revoke 5']);
  assert.deepEqual([...stage.identities], ['@0', 'root@3']);
});

test('a leader whose thread was held up starts over what it has not let expire yet', () => {
  const stage = new Stage();
  stage.lead(true);
  stage.lessor.grant(5n, 2n);
  stage.lessor.grant(6n, 3n);
  assert.deepEqual(stage.pass(2_000), ['revoke 5']);
  assert.deepEqual(stage.turn(60_000), ['revoke 5'], 'still to be revoked, and asked for again');
  assert.equal(stage.lessor.renew(5n), 'expired');
  assert.deepEqual(stage.pass(62_999), []);
  assert.deepEqual(stage.pass(64_000).sort(), ['revoke 5', 'revoke 6']);
});

test('what long leases have left is replicated where that is wanted, and a renewal voids it', () => {
  for (const [intervalMs, wanted] of [
    [300_000, ['checkpoint 5 301']],
    [0, []],
  ] as const) {
    const stage = new Stage(intervalMs);
    stage.lead(true);
    stage.lessor.grant(5n, 601n);
    assert.deepEqual(stage.pass(300_000), wanted);
  }
  const stage = new Stage(300_000);
  stage.lead(true);
  stage.lessor.grant(5n, 600n);
  assert.deepEqual(stage.pass(300_000), ['checkpoint 5 300']);
  stage.lessor.checkpoint(5n, 300);
  stage.lead(false);
  stage.lead(true);
  assert.equal(stage.lessor.timeToLive(5n)?.remainingSeconds, 301, 'the next leader counts from it');
  assert.deepEqual(stage.lessor.renew(5n), { ttlSeconds: 600, clearsCheckpoint: true });
  stage.expiry.clearCheckpoint(5n);
  assert.deepEqual(stage.proposed(), ['checkpoint 5 0']);
  stage.lessor.checkpoint(5n, 0);
  stage.lead(false);
  stage.expiry.clearCheckpoint(5n);
  assert.deepEqual(stage.proposed(), [], 'who does not lead proposes nothing');
  stage.lead(true);
  assert.equal(stage.lessor.timeToLive(5n)?.remainingSeconds, 601, 'and after a renewal has the whole time again');
});
