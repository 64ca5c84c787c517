/**
 * What a Kubernetes API server says to its store: creates, guarded updates and deletes, paged lists at one revision,
 * gets, events under a shared lease, and the compaction that several servers agree on through one key.
 *
 *   /registry/<kind>/<namespace>/<name>        compact_rev_key: version = round, value = revision of the round
 *
 * A server talks to its home endpoint and, while that refuses, to the next. It never repeats a write whose outcome it
 * does not know: it goes by what its caches show.
 */
import type { Prng } from '../../src/base/prng.js';
import type { Message } from '../support/messages.js';
import { type Answer, type EtcdConnection, type Method, type PairDecoder, shortened } from './etcd-client.js';
import type { Guard, Ledger, Operation, WriteRecord } from './ledger.js';
import { type KeyRange, type KeyValue, prefixRange } from './records.js';
import type { Listing } from './reflector.js';

export interface ApiServerOptions {
  readonly name: string;
  /** Home first. */
  readonly connections: readonly EtcdConnection[];
  readonly decoder: PairDecoder;
  readonly ledger: Ledger;
  readonly prng: Prng;
  /** A cached pair, which may be old: guards are made of it. */
  readonly cached: (kind: string, key: string) => KeyValue | undefined;
}

export const kinds = ['configmaps', 'deployments', 'endpoints', 'events', 'leases', 'pods'] as const;
export const registry = '/registry/';
export const listPageMax = 500;

/** Names of a kind; the first kind has more than one page of them. */
const namesOfKind = (kind: string) => (kind === 'configmaps' ? 1_300 : 60);
const namespaces = 4;
const valueBytes = { min: 100, max: 1_500 } as const;
const compactKey = 'compact_rev_key';
const populateTxnOps = 100;
/** How far behind the newest revision a compaction of any kind lies. */
const anywhereRevisionsMax = 300;

/** Long enough that leases end during the run and late enough that compaction passes their keys. */
const leaseTtlSeconds = 3;
const leaseReuseMs = 1_500;

const awayMs = 300;
const status = {
  unknown: 2,
  deadlineExceeded: 4,
  outOfRange: 11,
  internal: 13,
  unavailable: 14,
  cancelled: 1,
} as const;
const withUnknownOutcome: readonly number[] = [
  ...[status.cancelled, status.unknown, status.deadlineExceeded, status.internal, status.unavailable],
];
const compareVersion = 0;
const compareModRevision = 2;

/** The range of a kind's keys. */
export function kindRange(kind: string): KeyRange {
  return prefixRange(`${registry}${kind}/`);
}

export class ApiServer {
  /** Failed calls: code and text, with the number of times. */
  readonly failures = new Map<string, number>();
  readonly #options: ApiServerOptions;
  readonly #failedAt: number[];
  #lease: { readonly id: bigint; readonly grantedAt: number } | undefined;
  #compaction = { round: 0, revision: 0 };

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#failedAt = options.connections.map(() => Number.NEGATIVE_INFINITY);
  }

  /** Fills the kinds, so that lists have pages from the beginning. */
  async populate(): Promise<void> {
    const keys = kinds.flatMap(kind =>
      kind === 'events'
        ? []
        : Array.from({ length: Math.floor(namesOfKind(kind) / 2) }, (_, at) => keyOf(kind, at * 2)),
    );
    for (let at = 0; at < keys.length; at += populateTxnOps) {
      const puts = keys.slice(at, at + populateTxnOps).map(key => this.#put(key));
      const isDone = await this.#write(puts, undefined);
      if (!isDone) throw new Error('the store could not be populated');
    }
  }

  /** One operation, chosen by chance. */
  async act(): Promise<void> {
    const { prng } = this.#options;
    const chance = prng.nextBelow(100);
    const kind = kinds[prng.nextBelow(kinds.length)]!;
    const key = keyOf(kind, prng.nextBelow(namesOfKind(kind)));
    if (chance < 8) await this.get(key);
    else if (chance < 9) await this.list(kindRange(kind));
    else if (chance < 12) await this.#batch();
    else if (kind === 'events') await this.#event(key);
    else await this.#change(kind, key);
  }

  /** Creates, updates or deletes by what the cache shows; the store refuses it when the cache is old. */
  async #change(kind: string, key: string): Promise<void> {
    const known = this.#options.cached(kind, key);
    const guard = { key, modRevision: known?.modRevision ?? 0 };
    const isDelete = known !== undefined && this.#options.prng.nextBelow(4) === 0;
    await this.#write([isDelete ? removal(key) : this.#put(key)], guard);
  }

  /** Several keys of several kinds in one transaction, in no order, as nothing of Kubernetes does: its order must hold. */
  async #batch(): Promise<void> {
    const { prng, cached } = this.#options;
    const names = Array.from({ length: 2 + prng.nextBelow(4) }, () => {
      const kind = kinds[prng.nextBelow(3)]!;
      return { kind, key: keyOf(kind, prng.nextBelow(namesOfKind(kind))) };
    });
    const unique = [...new Map(names.map(name => [name.key, name])).values()];
    // Only the guarded key is known to be there, so only it can be deleted and leave an event for certain.
    const [first, ...others] = unique;
    const known = cached(first!.kind, first!.key);
    const firstOperation = known !== undefined && prng.nextBelow(2) === 0 ? removal(first!.key) : this.#put(first!.key);
    const operations = [...others.map(({ key }) => this.#put(key)), firstOperation];
    await this.#write(operations, { key: first!.key, modRevision: known?.modRevision ?? 0 });
  }

  /** An event: created once, under a lease that other events share. */
  async #event(key: string): Promise<void> {
    const now = performance.now();
    if (this.#lease === undefined || now - this.#lease.grantedAt > leaseReuseMs) {
      const answer = await this.#call('LeaseGrant', { TTL: BigInt(leaseTtlSeconds) });
      if (!answer.ok) return;
      this.#lease = { id: answer.message.ID as bigint, grantedAt: now };
    }
    const known = this.#options.cached('events', key);
    await this.#write([{ ...this.#put(key), lease: this.#lease.id }], { key, modRevision: known?.modRevision ?? 0 });
  }

  /** Puts a key into each kind and returns the revision: who has seen it has seen all. Undefined when that failed. */
  async mark(): Promise<number | undefined> {
    const operations = kinds.map(kind => this.#put(`${registry}${kind}/zz/marker`));
    return (await this.#transact(operations, undefined, undefined))?.revision;
  }

  async get(key: string): Promise<void> {
    const { ledger, name, decoder } = this.#options;
    const { floor } = ledger;
    const answer = await this.#call('Range', { key });
    if (!answer.ok) return;
    const { revision, message } = answer;
    ledger.sawRevision(revision);
    const range = { key, rangeEnd: '' };
    ledger.reads.push({ client: name, range, floor, revision, pairs: decoder.pairs(message.kvs) });
  }

  /** Lists a range page by page at the revision of the first page; undefined when a page could not be had. */
  async list(range: KeyRange): Promise<Listing | undefined> {
    const { ledger, name, decoder } = this.#options;
    const { floor } = ledger;
    const pairs: KeyValue[] = [];
    let revision = 0;
    for (let key = range.key, hasMore = true; hasMore; key = `${pairs.at(-1)?.key}\0`) {
      const page = { key, range_end: range.rangeEnd, limit: BigInt(listPageMax), revision: BigInt(revision) };
      const answer = await this.#call('Range', page);
      if (!answer.ok) return undefined;
      if (revision === 0) revision = answer.revision;
      const got = decoder.pairs(answer.message.kvs);
      hasMore = answer.message.more as boolean;
      const count = Number(answer.message.count);
      if (hasMore ? got.length !== listPageMax || count <= got.length : count !== got.length)
        throw new Error(`${name}: a page of ${range.key} has ${got.length} pairs of ${count}, more: ${hasMore}`);
      pairs.push(...got);
    }
    ledger.sawRevision(revision);
    ledger.reads.push({ client: name, range, floor, revision, pairs });
    return { revision, pairs };
  }

  /** One round of compaction: the server whose transaction wins compacts to the revision of the round before. */
  async compact(): Promise<void> {
    const { round, revision } = this.#compaction;
    const put: Operation = { ...this.#put(compactKey), lease: 0n };
    const compare = { result: 0, target: compareVersion, key: compactKey, version: BigInt(round) };
    const answer = await this.#transact([put], undefined, compare);
    if (answer === undefined) return;
    if (!answer.succeeded) {
      const [known] = answer.pairs;
      this.#compaction = { round: known?.version ?? 0, revision: answer.revision };
      return;
    }
    this.#compaction = { round: round + 1, revision: answer.revision };
    if (revision > 0) await this.#compactTo(revision);
  }

  /**
   * Compacts to a revision of any kind, which Kubernetes never does: to deletions, to transactions, to the ends of
   * leases, close behind the newest.
   */
  async compactAnywhere(): Promise<void> {
    const { ledger, prng } = this.#options;
    const revision = ledger.floor - prng.nextBelow(anywhereRevisionsMax);
    if (revision > ledger.compactionAsked) await this.#compactTo(revision);
  }

  async #compactTo(revision: number): Promise<void> {
    const { ledger } = this.#options;
    ledger.compactionAsked = Math.max(ledger.compactionAsked, revision);
    const compacted = await this.#call('Compaction', { revision: BigInt(revision) });
    if (compacted.ok) ledger.compactions += 1;
  }

  #put(key: string): Operation {
    const { ledger, prng } = this.#options;
    const bytes = valueBytes.min + prng.nextBelow(valueBytes.max - valueBytes.min);
    return { type: 'put', key, value: ledger.uniqueValue(bytes), lease: 0n };
  }

  /** Writes under a guard; true when it was done. */
  async #write(operations: readonly Operation[], guard: Guard | undefined): Promise<boolean> {
    const compare = guard && { result: 0, target: compareModRevision, key: guard.key, mod_revision: big(guard) };
    return (await this.#transact(operations, guard, compare))?.succeeded ?? false;
  }

  async #transact(operations: readonly Operation[], guard: Guard | undefined, compare: Message | undefined) {
    const { ledger, name, decoder } = this.#options;
    const { floor } = ledger;
    const write: WriteRecord = { client: name, guard, operations, floor, outcome: 'unknown', revision: 0 };
    ledger.writes.push(write);
    const key = compare?.key as string | undefined;
    const answer = await this.#call('Txn', {
      compare: compare === undefined ? [] : [compare],
      success: operations.map(encodeOperation),
      failure: key === undefined ? [] : [{ request_range: { key } }],
    });
    if (!answer.ok) {
      if (!withUnknownOutcome.includes(answer.code)) write.outcome = 'refused';
      return undefined;
    }
    const { revision, message } = answer;
    const succeeded = message.succeeded as boolean;
    write.outcome = succeeded ? 'acknowledged' : 'refused';
    write.revision = revision;
    ledger.sawRevision(revision);
    if (succeeded) ledger.acknowledged();
    if (succeeded || key === undefined) return { succeeded, revision, pairs: [] };
    const response = (message.responses as readonly Message[])[0]!;
    const pairs = decoder.pairs((response.response_range as Message).kvs);
    ledger.reads.push({ client: name, range: { key, rangeEnd: '' }, floor, revision, pairs });
    return { succeeded, revision, pairs };
  }

  async #call(method: Method, request: Message): Promise<Answer> {
    const { connections } = this.#options;
    const now = performance.now();
    const place = Math.max(
      0,
      this.#failedAt.findIndex(failedAt => now - failedAt > awayMs),
    );
    const answer = await connections[place]!.call(method, request);
    if (!answer.ok) {
      if (answer.code === status.unavailable) this.#failedAt[place] = performance.now();
      const text = `${method}: ${answer.code} ${shortened(answer.details)}`;
      this.failures.set(text, (this.failures.get(text) ?? 0) + 1);
    }
    return answer;
  }
}

function keyOf(kind: string, name: number): string {
  return `${registry}${kind}/ns-${name % namespaces}/${kind}-${String(name).padStart(4, '0')}`;
}

function removal(key: string): Operation {
  return { type: 'delete', key, value: '', lease: 0n };
}

function big({ modRevision }: Guard): bigint {
  return BigInt(modRevision);
}

function encodeOperation({ type, key, value, lease }: Operation): Message {
  if (type === 'delete') return { request_delete_range: { key } };
  return { request_put: { key, value, lease } };
}
