/** The primary's clock: what is due when, at which rate, and what a change of leader does to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionError } from '../../../src/base/assert.js';
import { decodeLeaseRecord } from '../../../src/member/lease/lease-record.js';
import { Lessor } from '../../../src/member/lease/lessor.js';
import { EtcdErrorCode } from '../../../src/wire/errors.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

const extendMs = 1_000;

function lessorOf(storage = new MemoryStateStore(), checkpointPersist = true): Lessor {
  return new Lessor({ storage, minimumTtlSeconds: 2, checkpointPersist });
}

/** A primary since 0 ms, whose promotion came before any lease. */
function primary(): Lessor {
  const lessor = lessorOf();
  lessor.promote(extendMs);
  return lessor;
}

function grantAll(lessor: Lessor, count: number, ttlOf: (number: number) => number): void {
  for (let number = 1; number <= count; number += 1) lessor.grant(BigInt(number), BigInt(ttlOf(number)));
}

function dueAt(lessor: Lessor, nowMs: number): bigint[] {
  lessor.advance(nowMs);
  const due = lessor.dueRevocations();
  lessor.check();
  return due;
}

test('a lease is due when its TTL has passed, not before, and again every 3 s until it is gone', () => {
  const lessor = primary();
  lessor.advance(100.25);
  lessor.grant(5n, 10n);
  for (const nowMs of [100.25, 5_000, 10_100, 10_100.2]) assert.deepEqual(dueAt(lessor, nowMs), []);
  assert.deepEqual(dueAt(lessor, 10_100.25), [5n]);
  for (const nowMs of [10_600, 11_100, 13_100]) assert.deepEqual(dueAt(lessor, nowMs), []);
  assert.deepEqual(dueAt(lessor, 13_101), [5n]);
  assert.deepEqual(dueAt(lessor, 16_102), [5n]);
  lessor.remove(5n);
  assert.deepEqual(dueAt(lessor, 1e9), []);
  assert.throws(() => lessor.remove(5n), AssertionError);
});

test('at most 500 are due in a scan, soonest first, and a scan is 500 ms after the one before', () => {
  const lessor = primary();
  grantAll(lessor, 1_200, number => 3_000 - number);
  lessor.advance(1e7);
  const scans: bigint[][] = [];
  for (let nowMs = 1e7; nowMs < 1e7 + 2_900; nowMs += 100) {
    const due = dueAt(lessor, nowMs);
    if (due.length > 0) scans.push([BigInt(nowMs - 1e7), due[0]!, due.at(-1)!, BigInt(due.length)]);
  }
  assert.deepEqual(scans, [
    [0n, 1_200n, 701n, 500n],
    [500n, 700n, 201n, 500n],
    [1_000n, 200n, 1n, 200n],
  ]);
});

test('renewing gives the whole TTL again, but not to a lease that is past its expiry', () => {
  const lessor = primary();
  lessor.grant(5n, 10n);
  lessor.grant(6n, 1n);
  assert.equal(lessor.renew(7n), 'unknown');
  lessor.advance(1_999);
  assert.deepEqual(lessor.renew(6n), { ttlSeconds: 2, clearsCheckpoint: false });
  lessor.advance(3_998);
  assert.deepEqual(lessor.timeToLive(6n)?.remainingSeconds, 0);
  assert.deepEqual(dueAt(lessor, 3_998.9), []);
  lessor.advance(3_999);
  assert.equal(lessor.renew(6n), 'expired');
  assert.equal(lessor.has(6n), true);
  assert.deepEqual(dueAt(lessor, 3_999), [6n]);
  assert.equal(lessor.renew(6n), 'expired', 'being revoked');
  lessor.remove(6n);
  assert.equal(lessor.renew(6n), 'unknown');
  lessor.advance(9_999.5);
  assert.deepEqual(lessor.renew(5n), { ttlSeconds: 10, clearsCheckpoint: false });
  assert.deepEqual(dueAt(lessor, 19_999), []);
  assert.deepEqual(dueAt(lessor, 19_999.5), [5n]);
});

test('what is left is rounded down; long past the expiry it is -1', () => {
  const lessor = primary();
  lessor.grant(5n, 10n);
  lessor.attach(40, 5n);
  const cases = [
    [0, 10],
    [1, 9],
    [9_001, 0],
    [10_000, 0],
    [10_999, 0],
    [11_000, -1],
    [60_000, -1],
  ] as const;
  for (const [nowMs, remainingSeconds] of cases) {
    lessor.advance(nowMs);
    assert.deepEqual(lessor.timeToLive(5n), { remainingSeconds, grantedSeconds: 10, slots: [40] });
  }
  assert.equal(lessor.timeToLive(6n), undefined);
});

test('only a primary knows expiries; each promotion begins them anew', () => {
  const lessor = lessorOf();
  lessor.grant(5n, 10n);
  lessor.grant(6n, 3n);
  assert.equal(lessor.isPrimary, false);
  assert.deepEqual(dueAt(lessor, 1e6), []);
  assert.throws(() => lessor.renew(5n), AssertionError);
  assert.throws(() => lessor.timeToLive(5n), AssertionError);
  assert.deepEqual(lessor.list(), [5n, 6n]);
  lessor.promote(extendMs);
  assert.equal(lessor.isPrimary, true);
  assert.deepEqual(lessor.list(), [6n, 5n]);
  assert.deepEqual(dueAt(lessor, 1e6 + 3_999), []);
  assert.deepEqual(dueAt(lessor, 1e6 + 4_000), [6n]);
  lessor.demote();
  assert.deepEqual(dueAt(lessor, 2e6), []);
  lessor.grant(7n, 2n);
  lessor.promote(extendMs);
  assert.deepEqual(dueAt(lessor, 2e6 + 2_999), []);
  assert.deepEqual(dueAt(lessor, 2e6 + 3_000), [7n]);
  lessor.promote(extendMs);
  assert.equal(typeof lessor.renew(7n), 'object', 'what was handed out before a promotion is not expired after it');
});

test('time never goes back', () => {
  const lessor = primary();
  lessor.advance(5_000);
  lessor.advance(10);
  lessor.grant(5n, 2n);
  assert.deepEqual(dueAt(lessor, 6_999), []);
  assert.deepEqual(dueAt(lessor, 7_000), [5n]);
});

test('1000 leases and more are spread by a promotion: at most 750 within a second, none early', () => {
  for (const [count, ttlOf] of [
    [999, () => 10],
    [1_000, () => 10],
    [4_000, () => 10],
    [4_000, (number: number) => 10 + (number % 3)],
    [4_000, (number: number) => 10 + Math.floor(number / 500)],
  ] as const) {
    const lessor = lessorOf();
    grantAll(lessor, count, ttlOf);
    lessor.promote(extendMs);
    const dueMs: number[] = [];
    const longestTtl = Math.max(...lessor.list().map(id => ttlOf(Number(id))));
    for (let nowMs = 0; dueMs.length < count; nowMs += 500) {
      for (const id of dueAt(lessor, nowMs)) {
        assert.ok(nowMs >= ttlOf(Number(id)) * 1_000 + extendMs, 'none is early');
        dueMs.push(nowMs);
        lessor.remove(id);
      }
    }
    const spans = dueMs.slice(750).map((ms, at) => ms - dueMs[at]!);
    if (count < 1_000) assert.deepEqual(new Set(dueMs), new Set([11_000, 11_500]));
    else assert.ok(Math.min(...spans) >= 1_000, `${Math.min(...spans)} ms`);
    const secondsAtLeast = Math.ceil(count / 750) - 1;
    assert.ok(dueMs.at(-1)! <= (longestTtl + secondsAtLeast + 1) * 1_000 + extendMs, 'nor later than needed');
  }
});

test('checkpoints: of leases with more than five minutes left, once an interval, never of what was just renewed', () => {
  const intervalMs = 300_000;
  const lessor = primary();
  lessor.grant(5n, 301n);
  lessor.grant(6n, 300n);
  lessor.grant(7n, 3_600n);
  lessor.grant(8n, 3_600n);
  const at = (nowMs: number): [bigint, number][] => {
    lessor.advance(nowMs);
    return lessor.dueCheckpoints(intervalMs).map(({ id, remainingTtlSeconds }) => [id, remainingTtlSeconds]);
  };
  assert.deepEqual(at(299_999), []);
  lessor.renew(8n);
  assert.deepEqual(at(300_000.5), [
    [5n, 1],
    [7n, 3_300],
  ]);
  assert.deepEqual(at(300_001), []);
  lessor.checkpoint(7n, 3_300);
  assert.deepEqual(lessor.renew(7n), { ttlSeconds: 3_600, clearsCheckpoint: true });
  assert.equal(lessor.timeToLive(7n)?.remainingSeconds, 3_600);
  lessor.checkpoint(7n, 0);
  assert.deepEqual(lessor.renew(7n), { ttlSeconds: 3_600, clearsCheckpoint: false });
  assert.deepEqual(at(600_000), []);
  assert.deepEqual(at(600_001), [
    [7n, 3_300],
    [8n, 3_300],
  ]);
  lessor.remove(7n);
  assert.deepEqual(at(900_002), [[8n, 3_000]]);
  lessor.demote();
  assert.deepEqual(at(9e6), []);
});

test('a renewal voids a checkpoint that is still on its way, too', () => {
  const lessor = primary();
  lessor.grant(7n, 600n);
  lessor.advance(250_000);
  assert.deepEqual(lessor.dueCheckpoints(200_000), [{ id: 7n, remainingTtlSeconds: 350 }]);
  assert.deepEqual(lessor.renew(7n), { ttlSeconds: 600, clearsCheckpoint: true }, 'proposed, not applied');
  lessor.checkpoint(7n, 350);
  assert.deepEqual(lessor.renew(7n), { ttlSeconds: 600, clearsCheckpoint: true });
  lessor.checkpoint(7n, 0);
  assert.deepEqual(lessor.renew(7n), { ttlSeconds: 600, clearsCheckpoint: false });
});

test('a checkpoint that the log clears after the promotion has not shortened the lease (L2)', () => {
  const lessor = lessorOf();
  for (const id of [7n, 8n]) {
    lessor.grant(id, 600n);
    lessor.checkpoint(id, 20);
  }
  lessor.promote(extendMs);
  lessor.checkpoint(7n, 0);
  assert.equal(lessor.timeToLive(7n)?.remainingSeconds, 600);
  lessor.advance(21_000);
  lessor.checkpoint(8n, 0);
  assert.equal(lessor.renew(8n), 'expired', 'but one that is past its expiry stays there');
  assert.deepEqual(dueAt(lessor, 21_000), [8n]);
});

test('a leader that was held up starts leases over, but none whose revocation may be in the log (L6)', () => {
  const lessor = primary();
  lessor.grant(5n, 2n);
  lessor.grant(6n, 3n);
  assert.deepEqual(dueAt(lessor, 2_000), [5n]);
  lessor.advance(4_000);
  lessor.startOver(extendMs);
  assert.equal(lessor.renew(5n), 'expired');
  assert.equal(lessor.timeToLive(6n)?.remainingSeconds, 4);
  assert.deepEqual(dueAt(lessor, 5_000), [5n], 'asked for again in its time');
  assert.deepEqual(dueAt(lessor, 7_999), []);
  assert.deepEqual(dueAt(lessor, 8_001), [6n, 5n].sort());
});

test('at most 1000 checkpoints a call', () => {
  const lessor = primary();
  grantAll(lessor, 2_500, () => 10_000);
  lessor.advance(1_000);
  const lengths = [1, 2, 3, 4].map(() => lessor.dueCheckpoints(1_000).length);
  assert.deepEqual(lengths, [1_000, 1_000, 500, 0]);
});

test('a restart finds leases and, where they are stored, checkpoints; a raised minimum raises their TTL', () => {
  for (const persist of [true, false]) {
    const storage = new MemoryStateStore();
    const lessor = lessorOf(storage, persist);
    lessor.grant(5n, 600n);
    lessor.grant(-6n, 3n);
    lessor.checkpoint(5n, 20);
    lessor.checkpoint(99n, 20);
    assert.deepEqual(
      storage.list('lease').map(([, value]) => decodeLeaseRecord(value)),
      [
        { id: 5n, ttlSeconds: 600, remainingSeconds: persist ? 20 : 0 },
        { id: -6n, ttlSeconds: 3, remainingSeconds: 0 },
      ],
    );
    const restarted = new Lessor({ storage, minimumTtlSeconds: 4, checkpointPersist: persist });
    restarted.promote(extendMs);
    assert.equal(restarted.timeToLive(5n)?.remainingSeconds, persist ? 21 : 601);
    assert.deepEqual(restarted.timeToLive(-6n), { remainingSeconds: 5, grantedSeconds: 4, slots: [] });
    assert.equal(restarted.grant(5n, 9n), EtcdErrorCode.LeaseExist);
  }
});

test('a lease that still has keys is not removed', () => {
  const lessor = primary();
  lessor.grant(5n, 10n);
  lessor.attach(8, 5n);
  assert.throws(() => lessor.remove(5n), AssertionError);
  lessor.attach(8, 0n);
  lessor.remove(5n);
  lessor.check();
});
