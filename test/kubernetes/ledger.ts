/**
 * What the writers and readers of a run were told, and whether the history agrees.
 *
 *   acknowledged write   its revision holds exactly its operations, in their order, and its guard was true before
 *   refused write        no trace of it
 *   unknown outcome      happened at most once; its values are unique, so the history says whether
 *   read                 equals the state at its revision, and sees all that was acknowledged before it was asked
 *
 * Everything in the history must come from one of the writes, except deletions by the end of a lease.
 */
import type { History } from './history.js';
import type { KeyRange, KeyValue, Violation } from './records.js';

export interface Operation {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly value: string;
  readonly lease: bigint;
}

/** A write is done only while `key` was last modified at `modRevision` (0: while it is not there). */
export interface Guard {
  readonly key: string;
  readonly modRevision: number;
}

export interface WriteRecord {
  readonly client: string;
  readonly guard: Guard | undefined;
  readonly operations: readonly Operation[];
  /** The highest revision anybody had been told of when it was asked for. */
  readonly floor: number;
  outcome: 'acknowledged' | 'refused' | 'unknown';
  revision: number;
}

export interface ReadRecord {
  readonly client: string;
  readonly range: KeyRange;
  readonly floor: number;
  readonly revision: number;
  readonly pairs: readonly KeyValue[];
}

export class Ledger {
  readonly writes: WriteRecord[] = [];
  readonly reads: ReadRecord[] = [];
  /** The highest revision that anybody was told of by a linearizable answer. */
  floor = 0;
  /** The highest revision whose compaction was asked for, whether it was answered or not. */
  compactionAsked = 0;
  compactions = 0;
  /** The longest time in which no write was acknowledged. */
  longestPauseMs = 0;
  #acknowledgedAt: number | undefined;
  #values = 0;

  /** A value that no other write of the run has. */
  uniqueValue(bytes: number): string {
    const name = `value-${++this.#values}-`;
    return name.padEnd(bytes, 'x');
  }

  sawRevision(revision: number): void {
    if (revision > this.floor) this.floor = revision;
  }

  /** A write was acknowledged. */
  acknowledged(): void {
    const now = performance.now();
    this.longestPauseMs = Math.max(this.longestPauseMs, now - (this.#acknowledgedAt ?? now));
    if (this.#acknowledgedAt !== Number.POSITIVE_INFINITY) this.#acknowledgedAt = now;
  }

  /** From here on nobody writes all the time. */
  writersStopped(): void {
    this.acknowledged();
    this.#acknowledgedAt = Number.POSITIVE_INFINITY;
  }

  count(outcome: WriteRecord['outcome']): number {
    return this.writes.filter(write => write.outcome === outcome).length;
  }

  /** Compares everything with the history. */
  check(history: History): Violation[] {
    const violations: Violation[] = [];
    for (const write of this.writes) {
      for (const text of write.outcome === 'acknowledged' ? acknowledgedWrite(write, history) : [])
        violations.push({ rule: 'write', where: write.client, text });
    }
    for (const read of this.reads) {
      for (const text of readFlaws(read, history)) violations.push({ rule: 'read', where: read.client, text });
    }
    for (const text of this.#origins(history)) violations.push({ rule: 'write', where: 'history', text });
    return violations;
  }

  /** Every put of the history comes from one write that was not refused, and comes once. */
  *#origins(history: History): Generator<string> {
    const writers = new Map<string, WriteRecord>();
    for (const write of this.writes) {
      for (const { type, value } of write.operations) if (type === 'put') writers.set(value, write);
    }
    const acknowledged = new Set(this.writes.filter(write => write.outcome === 'acknowledged').map(w => w.revision));
    const seen = new Map<string, number>();
    for (const { type, kv } of history.between(0, history.lastRevision)) {
      if (type === 'delete') continue;
      const write = writers.get(kv.value);
      const name = kv.value.slice(0, 24);
      if (write === undefined) yield `nobody wrote ${name} of revision ${kv.modRevision}`;
      else if (write.outcome === 'refused') yield `${name} was refused and is revision ${kv.modRevision}`;
      else if (write.outcome === 'acknowledged' && write.revision !== kv.modRevision)
        yield `${name} was acknowledged as revision ${write.revision} and is revision ${kv.modRevision}`;
      else if (write.outcome === 'unknown' && kv.modRevision <= write.floor)
        yield `${name} is revision ${kv.modRevision}, and ${write.floor} was known before it was written`;
      const first = seen.get(kv.value);
      if (first !== undefined) yield `${name} is revision ${first} and revision ${kv.modRevision}`;
      seen.set(kv.value, kv.modRevision);
    }
    yield* this.#deletions(history, acknowledged);
  }

  /** A revision of nothing but deletions that nobody was told of: a guarded delete whose answer was lost, or a lease. */
  *#deletions(history: History, acknowledged: ReadonlySet<number>): Generator<string> {
    const unknown = new Set(
      this.writes.filter(write => write.outcome === 'unknown' && write.operations.length === 1).map(keyOfDelete),
    );
    for (let revision = 2; revision <= history.lastRevision; revision++) {
      const events = history.at(revision);
      if (acknowledged.has(revision) || events.some(({ type }) => type === 'put')) continue;
      const leases = new Set(events.map(({ kv }) => history.pairAt(kv.key, revision - 1)?.lease));
      const byLease = leases.size === 1 && !leases.has(0n) && !leases.has(undefined);
      const inOrder = events.every(({ kv }, at) => at === 0 || events[at - 1]!.kv.key < kv.key);
      if (byLease && inOrder) continue;
      if (events.length === 1 && unknown.has(events[0]!.kv.key)) continue;
      yield `nobody deleted ${events.map(({ kv }) => kv.key).join(', ')} in revision ${revision}`;
    }
  }
}

function keyOfDelete(write: WriteRecord): string {
  const operation = write.operations[0]!;
  return operation.type === 'delete' ? operation.key : '';
}

function* acknowledgedWrite(write: WriteRecord, history: History): Generator<string> {
  const { guard, operations, revision, floor } = write;
  const what = `${operations.map(({ type, key }) => `${type} ${key}`).join(', ')} at revision ${revision}`;
  if (revision <= floor) yield `${what}, and revision ${floor} was known before`;
  const events = history.at(revision);
  const isSame = (operation: Operation, at: number) => {
    const event = events[at];
    if (event?.type !== operation.type || event.kv.key !== operation.key) return false;
    return operation.type === 'delete' || (event.kv.value === operation.value && event.kv.lease === operation.lease);
  };
  if (events.length !== operations.length || !operations.every(isSame))
    yield `${what}, and the history has ${events.map(({ type, kv }) => `${type} ${kv.key}`).join(', ') || 'nothing'}`;
  if (guard === undefined) return;
  const before = history.pairAt(guard.key, revision - 1)?.modRevision ?? 0;
  if (before !== guard.modRevision) yield `${what}, guarded by ${guard.modRevision}, and it was ${before}`;
}

function* readFlaws(read: ReadRecord, history: History): Generator<string> {
  const { range, revision, floor } = read;
  const what = `${range.key} at revision ${revision}`;
  if (revision < floor) yield `read ${what}, and revision ${floor} was known before`;
  yield* differences(history.stateAt(revision, range), read.pairs, what);
}

/** What `found` lacks or has too much, key by key, in comparison with `expected`. */
export function* differences(
  expected: readonly KeyValue[],
  found: readonly KeyValue[],
  what: string,
): Generator<string> {
  const pairs = new Map(found.map(pair => [pair.key, pair]));
  if (pairs.size !== found.length) yield `${what}: a key comes twice`;
  for (const pair of expected) {
    const other = pairs.get(pair.key);
    pairs.delete(pair.key);
    if (other === undefined) yield `${what}: ${pair.key} of revision ${pair.modRevision} is missing`;
    else if (other.modRevision !== pair.modRevision || other.value !== pair.value || other.version !== pair.version)
      yield `${what}: ${pair.key} is of revision ${other.modRevision} and should be of ${pair.modRevision}`;
  }
  for (const { key, modRevision } of pairs.values()) yield `${what}: ${key} of revision ${modRevision} should be gone`;
}
