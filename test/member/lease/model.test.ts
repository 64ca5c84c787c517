/**
 * Seeded programs of lease requests, writes, clock steps and changes of leader against a naive model: one member leads
 * and revokes what is due, another applies the same log, unasked, with crashes in between.
 *
 * V10 keys and leases name each other; L1 nothing is due early; L2 a promotion never shortens; L4 a revocation is one
 * revision with every key; L5 a key has one lease; L6 what is expired is not renewed; S9 both members hold the same.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { etcdErrorName } from '../../../src/wire/errors.js';
import { InternalField } from '../../../src/wire/internal.js';
import { encode } from '../../../src/wire/schema.js';
import { compact, put, remove, revisionOf, run, txn } from '../../support/kv-requests.js';
import { applyEntry, KvSubject } from '../../support/kv-subject.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';
import type { Message } from '../../support/messages.js';

const programs = Number(process.env.KVORUM_LEASE_PROGRAMS ?? 150);
const steps = 250;
const extendMs = 1_000;
const ids = [1n, 2n, 3n, -4n, 5n] as const;
const keys = ['a', 'b', 'c', 'd', 'e', 'f'] as const;

interface ModelLease {
  readonly ttlSeconds: number;
  remainingSeconds: number;
  expiryMs: number;
}

class Run {
  readonly #prng: Prng;
  readonly #subject = new KvSubject(new MemoryStateStore());
  readonly #follower = new KvSubject(new MemoryStateStore());
  readonly #leases = new Map<bigint, ModelLease>();
  /** Key -> lease, 0n for none. */
  readonly #keys = new Map<string, bigint>();
  /** When a lease was handed out for its revocation. */
  readonly #asked = new Map<bigint, number>();
  #revision = 1;
  #nowMs = 0;
  #leads = false;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  step(): void {
    const dice = this.#prng.nextBelow(100);
    if (dice < 12) this.#grant();
    else if (dice < 40) this.#put();
    else if (dice < 48) this.#delete();
    else if (dice < 56) this.#txn();
    else if (dice < 62) this.#revoke(this.#pick(ids), 'asked');
    else if (dice < 76) this.#pass();
    else if (dice < 84) this.#renew();
    else if (dice < 88) this.#checkpoint();
    else if (dice < 93) this.#changeLeader();
    else if (dice < 97) this.#restartFollower();
    else compact(this.#subject, this.#revision - this.#prng.nextBelow(3));
    this.#subject.applier.background(3);
    this.#compare();
  }

  #grant(): void {
    const ID = this.#pick(ids);
    const seconds = this.#prng.nextBelow(12);
    const body = encode('etcdserverpb.LeaseGrantRequest', { ID, TTL: BigInt(seconds) });
    const reply = this.#subject.propose(InternalField.LeaseGrant, body);
    assert.ok(reply !== undefined);
    if (this.#leases.has(ID)) {
      assert.equal('error' in reply && etcdErrorName(reply.error), 'LeaseExist');
      return;
    }
    assert.ok('ok' in reply);
    const ttlSeconds = Math.max(seconds, 2);
    const expiryMs = this.#leads ? this.#nowMs + ttlSeconds * 1_000 : Number.POSITIVE_INFINITY;
    this.#leases.set(ID, { ttlSeconds, remainingSeconds: 0, expiryMs });
  }

  #put(): void {
    const key = this.#pick(keys);
    if (this.#prng.nextBelow(5) === 0) {
      const answer = run(this.#subject, put(key, 'kept', { ignore_lease: true }));
      if (this.#keys.has(key)) this.#changed(answer);
      else assert.equal(answer, 'KeyNotFound');
      return;
    }
    const lease = this.#someLease();
    const answer = run(this.#subject, put(key, 'v', { lease }));
    if (lease !== 0n && !this.#leases.has(lease)) {
      assert.equal(answer, 'LeaseNotFound');
      return;
    }
    this.#changed(answer);
    this.#keys.set(key, lease);
  }

  #delete(): void {
    const [from, to] = [this.#pick(keys), this.#pick([...keys, 'z'])];
    const gone = [...this.#keys.keys()].filter(key => key >= from && key < to);
    const answer = run(this.#subject, remove(from, to));
    if (gone.length > 0) this.#changed(answer);
    for (const key of gone) this.#keys.delete(key);
  }

  /** A deletion and puts of other keys, the last perhaps with an unknown lease: then nothing happens. */
  #txn(): void {
    const unused = [...keys];
    const [first, second, third] = [0, 1, 2].map(() => unused.splice(this.#prng.nextBelow(unused.length), 1)[0]!);
    const [lease, other] = [this.#someLease(), this.#someLease()];
    const ops: Message[] = [remove(first!), put(second!, 'v', { lease }), txn([put(third!, 'v', { lease: other })])];
    const answer = run(this.#subject, txn(ops));
    if ([lease, other].some(id => id !== 0n && !this.#leases.has(id))) {
      assert.equal(answer, 'LeaseNotFound');
      return;
    }
    this.#changed(answer);
    this.#keys.delete(first!);
    this.#keys.set(second!, lease);
    this.#keys.set(third!, other);
  }

  #revoke(ID: bigint, why: 'asked' | 'due'): void {
    const reply = this.#subject.propose(InternalField.LeaseRevoke, encode('etcdserverpb.LeaseRevokeRequest', { ID }));
    assert.ok(reply !== undefined);
    if (!this.#leases.has(ID)) {
      assert.equal('error' in reply && etcdErrorName(reply.error), 'LeaseNotFound', why);
      return;
    }
    assert.ok('ok' in reply);
    const gone = [...this.#keys].filter(([, lease]) => lease === ID).map(([key]) => key);
    if (gone.length > 0) this.#revision += 1;
    for (const key of gone) this.#keys.delete(key);
    this.#leases.delete(ID);
    this.#asked.delete(ID);
  }

  /** Time passes; what is due is what the model says, and most of it is revoked. */
  #pass(): void {
    this.#nowMs += this.#prng.nextBelow(4) === 0 ? this.#prng.nextBelow(6_000) : 500 + this.#prng.nextBelow(900);
    const { lessor } = this.#subject.applier;
    this.#subject.applier.lessor.advance(this.#nowMs);
    const expected = [...this.#leases]
      .filter(([id, { expiryMs }]) => (this.#asked.get(id) ?? expiryMs - 3_000) + 3_000 <= this.#nowMs)
      .map(([id]) => id);
    const due = lessor.dueRevocations();
    assert.deepEqual([...due].sort(), expected.sort());
    for (const id of due) {
      assert.ok(this.#leads && this.#leases.get(id)!.expiryMs <= this.#nowMs, 'L1, L7');
      this.#asked.set(id, this.#nowMs);
      if (this.#prng.nextBelow(3) > 0) this.#revoke(id, 'due');
    }
  }

  #renew(): void {
    const id = this.#pick(ids);
    if (!this.#leads) return;
    const lease = this.#leases.get(id);
    const renewed = this.#subject.applier.lessor.renew(id);
    if (lease === undefined) assert.equal(renewed, 'unknown');
    else if (lease.expiryMs <= this.#nowMs) assert.equal(renewed, 'expired');
    else {
      const { ttlSeconds, remainingSeconds } = lease;
      assert.deepEqual(renewed, { ttlSeconds, clearsCheckpoint: remainingSeconds > 0 });
      lease.expiryMs = this.#nowMs + ttlSeconds * 1_000;
      if (remainingSeconds > 0) this.#checkpoint(id, 0);
    }
  }

  #checkpoint(ID: bigint = this.#pick(ids), seconds = this.#prng.nextBelow(3)): void {
    const checkpoints = [{ ID, remaining_TTL: BigInt(seconds) }];
    this.#subject.propose(
      InternalField.LeaseCheckpoint,
      encode('etcdserverpb.LeaseCheckpointRequest', { checkpoints }),
    );
    const lease = this.#leases.get(ID);
    if (lease === undefined) return;
    lease.remainingSeconds = seconds;
    const wholeMs = this.#nowMs + lease.ttlSeconds * 1_000;
    const cleared = this.#leads && seconds === 0 && lease.expiryMs > this.#nowMs;
    if (cleared && lease.expiryMs < wholeMs) lease.expiryMs = wholeMs;
  }

  #changeLeader(): void {
    this.#leads = this.#prng.nextBelow(3) > 0;
    const { lessor } = this.#subject.applier;
    if (this.#leads) lessor.promote(extendMs);
    else lessor.demote();
    this.#asked.clear();
    for (const lease of this.#leases.values()) {
      const seconds = lease.remainingSeconds > 0 ? lease.remainingSeconds : lease.ttlSeconds;
      lease.expiryMs = this.#leads ? this.#nowMs + seconds * 1_000 + extendMs : Number.POSITIVE_INFINITY;
    }
  }

  #restartFollower(): void {
    if (this.#prng.nextBelow(2) === 0) this.#follower.store.commit();
    this.#follower.restart(this.#follower.store.crash());
  }

  #changed(answer: Message | string): void {
    assert.equal(typeof answer, 'object', String(answer));
    this.#revision += 1;
    assert.equal(revisionOf(answer), this.#revision);
  }

  #compare(): void {
    const { log } = this.#subject;
    for (const entry of log.slice(this.#follower.log.length)) {
      this.#follower.log.push(entry);
      applyEntry(this.#follower.applier, entry, false);
    }
    for (const { applier } of [this.#subject, this.#follower]) {
      const { lessor, mvcc } = applier;
      lessor.check();
      assert.equal(applier.currentRevision, this.#revision);
      assert.deepEqual(lessor.list().sort(), [...this.#leases.keys()].sort());
      for (const id of ids) {
        const found = lessor.slotsOf(id).map(slot => Buffer.from(mvcc.index.table.key(slot)).toString());
        const expected = [...this.#keys].filter(([, lease]) => lease === id).map(([key]) => key);
        assert.deepEqual(found.sort(), expected.sort());
      }
    }
    if (!this.#leads) return;
    for (const [id, { expiryMs, ttlSeconds }] of this.#leases) {
      const found = this.#subject.applier.lessor.timeToLive(id);
      assert.equal(found?.grantedSeconds, ttlSeconds);
      assert.equal(found.remainingSeconds, Math.max(-1, Math.trunc((expiryMs - this.#nowMs) / 1_000)) + 0);
    }
  }

  /** Both members hold the same records and leases, the follower after one more restart. */
  finish(): void {
    this.#restartFollower();
    this.#subject.settle();
    this.#follower.settle();
    assert.deepEqual(this.#follower.hash(0), this.#subject.hash(0));
    assert.deepEqual(this.#follower.store.list('lease'), this.#subject.store.list('lease'));
  }

  #someLease(): bigint {
    return this.#prng.nextBelow(3) === 0 ? 0n : this.#pick(ids);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#prng.nextBelow(items.length)]!;
  }
}

test(`${programs} programs keep leases, keys and expiries as the model does`, () => {
  for (let seed = 1; seed <= programs; seed += 1) {
    const program = new Run(seed);
    for (let step = 0; step < steps; step += 1) {
      try {
        program.step();
      } catch (error) {
        throw new Error(`seed ${seed}, step ${step}: ${(error as Error).message}`, { cause: error });
      }
    }
    program.finish();
  }
});
