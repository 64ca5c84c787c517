/**
 * Seeded random key-value programs for differential tests.
 *
 * A program is a list of operations that is run, in order, against two servers whose answers must agree. It is a pure
 * function of (seed, base revision, options): the same seed with another base gives the same program moved to another
 * place in the store's history, which is how a failing program is replayed and shrunk on servers that already ran
 * something. What a program can see is its own doing: the runner empties and compacts the store before it.
 *
 * The key space is small, so that operations meet: single bytes at both ends of the order, keys that are prefixes of
 * one another, a row of numbered keys (more than a dozen: sorting many behaves differently from sorting few), long
 * keys, and now and then the empty one. Revisions are drawn around the program's own, and from the odd values.
 */
import { Prng } from '../../src/base/prng.js';
import { decodeMessage, encodeMessage, type Message, type Value } from './messages.js';

/** The calls a program may make: path and message names. */
export const methods = {
  Range: { path: '/etcdserverpb.KV/Range', request: 'RangeRequest', response: 'RangeResponse' },
  Put: { path: '/etcdserverpb.KV/Put', request: 'PutRequest', response: 'PutResponse' },
  DeleteRange: { path: '/etcdserverpb.KV/DeleteRange', request: 'DeleteRangeRequest', response: 'DeleteRangeResponse' },
  Txn: { path: '/etcdserverpb.KV/Txn', request: 'TxnRequest', response: 'TxnResponse' },
  Compact: { path: '/etcdserverpb.KV/Compact', request: 'CompactionRequest', response: 'CompactionResponse' },
  LeaseGrant: { path: '/etcdserverpb.Lease/LeaseGrant', request: 'LeaseGrantRequest', response: 'LeaseGrantResponse' },
  LeaseLeases: {
    path: '/etcdserverpb.Lease/LeaseLeases',
    request: 'LeaseLeasesRequest',
    response: 'LeaseLeasesResponse',
  },
  /** A stream; made as a call of one message its answer has one too. */
  LeaseKeepAlive: {
    path: '/etcdserverpb.Lease/LeaseKeepAlive',
    request: 'LeaseKeepAliveRequest',
    response: 'LeaseKeepAliveResponse',
  },
  LeaseRevoke: {
    path: '/etcdserverpb.Lease/LeaseRevoke',
    request: 'LeaseRevokeRequest',
    response: 'LeaseRevokeResponse',
  },
  LeaseTimeToLive: {
    path: '/etcdserverpb.Lease/LeaseTimeToLive',
    request: 'LeaseTimeToLiveRequest',
    response: 'LeaseTimeToLiveResponse',
  },
  HashKV: { path: '/etcdserverpb.Maintenance/HashKV', request: 'HashKVRequest', response: 'HashKVResponse' },
} as const;

export type MethodName = keyof typeof methods;

export interface Operation {
  readonly method: MethodName;
  /** The request as sent, encoded; not always a valid message. */
  readonly body: Buffer;
  /** The decoded request; undefined when the body is not a message. */
  readonly request: Message | undefined;
  /** Answered from the member's own store without a quorum round: only a member that saw all writes may be asked. */
  readonly local: boolean;
  /** Which endpoint to use, modulo the number of endpoints. */
  readonly member: number;
}

export interface ProgramOptions {
  /** Sort targets outside the enumeration: releases before 3.6 crash on them. */
  readonly undefinedSortTargets: boolean;
  /** Granted leases and calls of the lease service; without them every lease a put names is unknown. */
  readonly leases: boolean;
  /**
   * Ranges inside transactions name revisions. Off for several members of real etcd: up to 3.4.34 and 3.5.16 a member
   * that nobody waits at drops the ranges of a transaction and so executes one that failed, for the revision's sake,
   * where it was sent. The members' data then differ for good.
   */
  readonly revisionsInTxns: boolean;
  /** Values around the request limits, megabytes each. */
  readonly bigValues: boolean;
  readonly operationsMax: number;
}

/** Lease ids granted before every program and revoked after it. */
export const programLeases = [0x1001n, 0x1002n] as const;
/** Lease ids that a program may grant itself; one more is never granted. */
export const furtherLeases = [0x1003n, -0x1004n, 2n ** 63n - 2n] as const;
const unknownLease = 0x1fffn;
const int64Max = 2n ** 63n - 1n;
const leaseSecondsMax = 9_000_000_000n;

/** Limits of the servers' defaults: raft entry, and received message. */
const requestBytesMax = 1_572_864;
const messageBytesMax = requestBytesMax + 512 * 1024;
const transactionOperationsMax = 128;
/**
 * One that passes, one that is too large as an entry, one that is not even received. What is put around a value takes a
 * few dozen bytes, or with the longest key five thousand: the sizes stay clear of the edges by more.
 */
const bigSizes = [requestBytesMax - 6000, requestBytesMax + 200, messageBytesMax + 200] as const;

/** The operations of the program `seed`, for a store whose revision is `base` and whose key space is empty. */
export function generateProgram(seed: number, base: bigint, options: ProgramOptions): Operation[] {
  const generator = new Generator(new Prng(seed), base, options);
  const count = 1 + generator.below(options.operationsMax);
  return Array.from({ length: count }, () => generator.operation());
}

/** A valid operation built by hand, for the frame around programs. */
export function operation(method: MethodName, request: Message, member = 0): Operation {
  return {
    method,
    request,
    body: encodeMessage(methods[method].request, request),
    local: isLocal(method, request),
    member,
  };
}

const shortKeys = ['a', 'b', 'c', 'aa', 'ab', 'b\0', 'b\0\0', '\0', '\xff', '\xff\xff', 'a\xff', 'b\xff\xff'];
const numberedKeys = Array.from({ length: 16 }, (_, i) => `n/${String(i).padStart(2, '0')}`);
const keys: readonly Buffer[] = [
  ...[...shortKeys, ...numberedKeys].map(text => Buffer.from(text, 'latin1')),
  Buffer.alloc(300, 'long'),
  Buffer.alloc(5000, 0xab),
];
const nothing = Buffer.alloc(0);
const fromKey = Buffer.from([0]);

/** The end of the range of all keys that start with `prefix`. */
function prefixEnd(prefix: Buffer): Buffer {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix[i] ?? 0;
    if (byte < 0xff) return Buffer.concat([prefix.subarray(0, i), Buffer.from([byte + 1])]);
  }
  return fromKey;
}

function isLocal(method: MethodName, request: Message): boolean {
  if (method === 'Range') return request.serializable === true;
  if (['HashKV', 'LeaseTimeToLive', 'LeaseLeases', 'LeaseKeepAlive'].includes(method)) return true;
  if (method !== 'Txn') return false;
  const branches = [request.success, request.failure].flat() as readonly (Message | undefined)[];
  return branches.every(item => {
    if (item === undefined) return true;
    const nested = item.request_txn as Message | undefined;
    const range = item.request_range as Message | undefined;
    return nested !== undefined ? isLocal('Txn', nested) : range !== undefined && range.serializable === true;
  });
}

class Generator {
  readonly #prng: Prng;
  readonly #base: bigint;
  readonly #options: ProgramOptions;
  #made = 0;
  /** All compactions so far answer only after they ended; see #hashKv. */
  #compactionsEnded = true;

  constructor(prng: Prng, base: bigint, options: ProgramOptions) {
    this.#prng = prng;
    this.#base = base;
    this.#options = options;
  }

  below(n: number): number {
    return this.#prng.nextBelow(n);
  }

  operation(): Operation {
    this.#made++;
    const [method, request] = this.#call();
    const valid = operation(method, request, this.below(8));
    return this.#chance(0.04) && !method.startsWith('Lease') && !['Compact', 'HashKV'].includes(method)
      ? this.#damage(valid)
      : valid;
  }

  #call(): [MethodName, Message] {
    const big = this.#options.bigValues ? bigSizes[this.#made - 1] : undefined;
    if (big !== undefined) return ['Put', { key: this.#key(), value: Buffer.alloc(big, 'big') }];
    const dice = this.below(100);
    if (dice < 32) return ['Put', this.#put()];
    if (dice < 60) return ['Range', this.#range(this.#sortOrder(), this.#sortTarget())];
    if (dice < 70) return ['DeleteRange', this.#deleteRange()];
    if (dice < 88) return ['Txn', this.#harmlessTxn()];
    if (dice < 92) return ['Compact', this.#compact()];
    if (dice < 98 && !this.#options.leases) return ['Range', this.#range(0, 0)];
    if (dice < 98) return this.#leaseCall();
    return ['HashKV', this.#hashKv()];
  }

  #leaseCall(): [MethodName, Message] {
    const dice = this.below(100);
    if (dice < 20) return ['LeaseRevoke', { ID: this.#lease(1) }];
    if (dice < 45) return ['LeaseTimeToLive', { ID: this.#lease(1), keys: this.#chance(0.8) }];
    if (dice < 60) return ['LeaseKeepAlive', { ID: this.#lease(1) }];
    if (dice < 75) return ['LeaseLeases', {}];
    // None so short that it could end while the program runs.
    const ttl = this.#pick([3600n, 100_000n, leaseSecondsMax, leaseSecondsMax + 1n, int64Max]);
    return ['LeaseGrant', { ID: this.#pick([...programLeases, ...furtherLeases, ...furtherLeases]), TTL: ttl }];
  }

  #compact(): Message {
    const physical = this.#chance(0.5);
    this.#compactionsEnded &&= physical;
    return { revision: this.#revision(0.1), physical };
  }

  /** A server keeps the hash of a compaction once that has ended: until then the answer for its revision may vary. */
  #hashKv(): Message {
    return { revision: this.#compactionsEnded ? this.#revision(0.5) : 0n };
  }

  #put(key = this.#key()): Message {
    const ignoreValue = this.#chance(0.08);
    const ignoreLease = this.#chance(0.1);
    return {
      key,
      value: ignoreValue && this.#chance(0.8) ? nothing : this.#value(),
      lease: this.#lease(ignoreLease ? 0.2 : 0.15),
      prev_kv: this.#chance(0.3),
      ignore_value: ignoreValue,
      ignore_lease: ignoreLease,
    };
  }

  #range(sortOrder: number, sortTarget: number): Message {
    const key = this.#key();
    return {
      key,
      range_end: this.#rangeEnd(key),
      limit: this.#chance(0.6) ? 0n : this.#pick([1n, 2n, 3n, 7n, 13n, 100n, -1n, int64Max]),
      revision: this.#revision(0.6),
      sort_order: sortOrder,
      sort_target: sortTarget,
      serializable: this.#chance(0.3),
      keys_only: this.#chance(0.15),
      count_only: this.#chance(0.15),
      min_mod_revision: this.#revision(0.9),
      max_mod_revision: this.#revision(0.9),
      min_create_revision: this.#revision(0.9),
      max_create_revision: this.#revision(0.9),
    };
  }

  #deleteRange(): Message {
    const key = this.#key();
    return { key, range_end: this.#rangeEnd(key), prev_kv: this.#chance(0.4) };
  }

  #harmlessTxn(): Message {
    for (;;) {
      const txn = this.#txn(0);
      if (!isDeadly(txn)) return txn;
    }
  }

  #txn(depth: number): Message {
    // Wide transactions test the operation limit; they hold cheap reads only.
    const wide = this.#chance(0.03) ? this.#pick([100, transactionOperationsMax, transactionOperationsMax + 1]) : 0;
    const compareCount = this.#chance(0.03) ? transactionOperationsMax + 1 : this.below(4);
    return {
      compare: Array.from({ length: compareCount }, () => this.#compare()),
      success: this.#branch(depth, wide),
      failure: this.#branch(depth, 0),
    };
  }

  #branch(depth: number, wide: number): Message[] {
    const reads = Array.from({ length: wide }, (_, i) => ({ request_range: { key: keys[i % keys.length] } }));
    const unused = [...keys];
    const readOnly = this.#chance(0.2);
    const operations = Array.from({ length: this.below(4) }, () => this.#requestOp(depth, unused, readOnly));
    return [...reads, ...operations];
  }

  /** Puts mostly take a key from `unused`, because a key that is put twice ends the whole transaction early. */
  #requestOp(depth: number, unused: Buffer[], readOnly: boolean): Message {
    const dice = this.below(100);
    if (dice < 12 && depth < 3) return { request_txn: this.#txn(depth + 1) };
    if (dice < 45 || readOnly) {
      const range = this.#range(this.below(3), this.below(5));
      return { request_range: this.#options.revisionsInTxns ? range : { ...range, revision: 0n } };
    }
    if (dice < 60) return { request_delete_range: this.#deleteRange() };
    if (dice < 61) return {};
    const key = this.#chance(0.9) ? unused.splice(this.below(unused.length), 1)[0] : this.#key();
    return { request_put: this.#put(key ?? this.#key()) };
  }

  #compare(): Message {
    const key = this.#key();
    const target = this.#chance(0.03) ? 9 : this.below(5);
    const number = this.#chance(0.5) ? this.#revision(0.3) : BigInt(this.below(4));
    const unions: Message[] = [
      { version: BigInt(this.below(4)) },
      { create_revision: number },
      { mod_revision: number },
      { value: this.#value() },
      { lease: this.#lease(0.5) },
    ];
    // Sometimes none, sometimes the one of another target.
    const union = this.#chance(0.08) ? {} : this.#chance(0.05) ? this.#pick(unions) : (unions[target] ?? {});
    return {
      result: this.#chance(0.02) ? 9 : this.below(4),
      target,
      key,
      range_end: this.#chance(0.75) ? nothing : this.#rangeEnd(key),
      ...union,
    };
  }

  #key(): Buffer {
    return this.#chance(0.01) ? nothing : this.#pick(keys);
  }

  #rangeEnd(key: Buffer): Buffer {
    const dice = this.below(100);
    if (dice < 35) return nothing;
    if (dice < 55) return fromKey;
    if (dice < 75) return prefixEnd(key.subarray(0, 1 + this.below(Math.max(1, key.length))));
    if (dice < 80) return prefixEnd(key);
    return this.#pick(keys); // Often below the key: an empty range.
  }

  #value(): Buffer {
    const dice = this.below(100);
    if (this.#options.bigValues && dice < 3) return Buffer.alloc(this.#pick(bigSizes), 'big');
    if (dice < 15) return nothing;
    if (dice < 75) return Buffer.from(`v${this.below(4)}`);
    if (dice < 95) return Buffer.from(Array.from({ length: this.below(40) }, () => this.below(256)));
    return Buffer.alloc(this.below(3000), `value ${this.#made} `);
  }

  #lease(probability: number): bigint {
    if (!this.#chance(probability)) return 0n;
    const granted = this.#options.leases ? [...programLeases, ...programLeases, ...furtherLeases] : [];
    return this.#pick([...granted, unknownLease, -5n]);
  }

  /** Zero with the given probability, otherwise mostly around the program's own history. */
  #revision(zeroProbability: number): bigint {
    if (this.#chance(zeroProbability)) return 0n;
    if (this.#chance(0.06)) return this.#pick([-1n, -7n, 1n, int64Max, -int64Max]);
    return this.#base + BigInt(this.below(this.#made + 4) - 2);
  }

  #sortOrder(): number {
    return this.#chance(0.02) ? this.#pick([3, 17, -1]) : this.below(3);
  }

  #sortTarget(): number {
    const undefinedOne = this.#chance(0.02) && this.#options.undefinedSortTargets;
    return undefinedOne ? this.#pick([5, 23, -1]) : this.below(5);
  }

  /** The same call with bytes changed, cut off, added or repeated: often still a message, sometimes not. */
  #damage(valid: Operation): Operation {
    const body = this.#damagedBody(valid.body);
    let request: Message | undefined;
    try {
      request = decodeMessage(methods[valid.method].request, body);
    } catch {
      // Not a message any more: the servers refuse it as such.
    }
    if (request !== undefined && (isDeadly(request) || this.#splitsMembers(request))) return valid;
    // Unknown what it became: whoever answers must have seen everything.
    return { ...valid, body, request, local: true };
  }

  /** See ProgramOptions.revisionsInTxns. */
  #splitsMembers(request: Message): boolean {
    let found = false;
    visit(request, (name, value) => {
      if (name === 'request_range') found ||= (value as Message).revision !== 0n;
    });
    return found && !this.#options.revisionsInTxns;
  }

  #damagedBody(body: Buffer): Buffer {
    const place = this.below(body.length + 1);
    switch (this.below(4)) {
      case 0:
        return body.subarray(0, place);
      case 1:
        return Buffer.concat([body, Buffer.from([0xfa, 0x3f, 0x02, 0x68, 0x69])]); // field 1023, two bytes
      case 2:
        return Buffer.concat([body, body]);
      default: {
        const changed = Buffer.from(body);
        if (place < body.length) changed[place] = this.below(256);
        return changed;
      }
    }
  }

  #chance(probability: number): boolean {
    return this.#prng.nextFloat() < probability;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/**
 * Whether a request would end a real server instead of being answered:
 * - an undefined sort target, before 3.6 (an undefined order is drawn on purpose elsewhere, where it is harmless);
 * - a transaction that deletes "from this key on" and then keeps the value or lease of a key it deleted: that overlap
 *   passes etcd's check for duplicate keys, and finding the key gone while executing is a panic on every member.
 */
function isDeadly(message: Message): boolean {
  const found = { sort: false, fromKeyDelete: false, ignore: false };
  visit(message, (name, value, owner) => {
    if (name === 'sort_order') found.sort ||= typeof value === 'number' && (value < 0 || value > 2);
    if (name === 'sort_target') found.sort ||= typeof value === 'number' && (value < 0 || value > 4);
    if (name === 'ignore_value' || name === 'ignore_lease') found.ignore ||= value === true;
    if (name === 'range_end' && 'prev_kv' in owner) found.fromKeyDelete ||= fromKey.equals(value as Buffer);
  });
  return found.sort || (found.fromKeyDelete && found.ignore);
}

/** Calls `see` for every field of a message and of the messages below it. */
function visit(message: Message, see: (name: string, value: Value, owner: Message) => void): void {
  for (const [name, value] of Object.entries(message)) {
    if (value === undefined) continue;
    see(name, value, message);
    for (const item of Array.isArray(value) ? value : [value]) {
      if (typeof item === 'object' && !(item instanceof Uint8Array)) visit(item as Message, see);
    }
  }
}
