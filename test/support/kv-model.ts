/**
 * The key space as etcd's documentation describes it, without any cleverness: a list of all changes ever made, searched
 * from the front for every question. What the store is compared with.
 *
 * It shares no code with the product. Requests and responses are those of messages.ts; keys and values are latin1 texts
 * inside. Compaction removes nothing here: it only moves the limit below which reads fail.
 */
import type { Message } from './messages.js';

/** A name of the error table, or the response without the ids and the term of its header. */
export type ModelAnswer = { readonly error: string } | { readonly response: Message };

export interface ModelKv {
  readonly key: string;
  readonly create: bigint;
  readonly mod: bigint;
  readonly version: bigint;
  readonly value: string;
  readonly lease: bigint;
}

export interface ModelChange {
  readonly main: bigint;
  readonly sub: bigint;
  readonly key: string;
  /** Undefined: deleted. */
  readonly kv: ModelKv | undefined;
}

class ModelError extends Error {}

type Ops = readonly Message[];

const text = (value: unknown): string => Buffer.from(value as Uint8Array).toString('latin1');
const bytes = (value: string): Buffer => Buffer.from(value, 'latin1');
const messageOf = (value: unknown): Message => value as Message;
const opsOf = (value: unknown): Ops => (value ?? []) as Ops;

export class KvModel {
  readonly changes: ModelChange[] = [];
  revision = 1n;
  compacted = -1n;
  readonly #leases: ReadonlySet<bigint>;
  readonly #opsMax: number;

  constructor(leases: readonly bigint[] = [], opsMax = 128) {
    this.#leases = new Set(leases);
    this.#opsMax = opsMax;
  }

  /** Checks and executes a request of the KV service. */
  execute(method: 'Range' | 'Put' | 'DeleteRange' | 'Txn' | 'Compact', request: Message): ModelAnswer {
    const changesBefore = this.changes.length;
    try {
      if (method !== 'Compact') this.#check(method, request);
      if (method === 'Compact') return this.#compact(request.revision as bigint);
      if (method === 'Range') return { response: this.#topRange(request) };
      if (method === 'Txn') return { response: this.#topTxn(request) };
      if (method === 'Put') this.#putExists(request, 'lease first');
      const main = this.revision + 1n;
      const response = method === 'Put' ? this.#put(request, main) : this.#delete(request, main);
      if (this.changes.length > changesBefore) this.revision = main;
      return { response };
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      return { error: error.message };
    }
  }

  /** What exists at a revision, by key, in key order. */
  stateAt(revision: bigint): Map<string, ModelKv> {
    const state = new Map<string, ModelKv>();
    for (const { main, key, kv } of this.changes) {
      if (main > revision) break;
      if (kv === undefined) state.delete(key);
      else state.set(key, kv);
    }
    return new Map([...state].sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  /** The records that a store holds after every compaction has finished. */
  records(): ModelChange[] {
    const kept = this.keptBy(this.compacted);
    return this.changes.filter(change => change.main > this.compacted || kept.has(change));
  }

  /** What a compaction keeps of the changes at or below its revision. */
  keptBy(revision: bigint): Set<ModelChange> {
    const newest = new Map<string, ModelChange>();
    for (const change of this.changes) if (change.main <= revision) newest.set(change.key, change);
    return new Set([...newest.values()].filter(({ kv, main }) => kv !== undefined || main === revision));
  }

  #check(method: string, request: Message): void {
    if (method === 'Txn') {
      this.#checkTxn(request, this.#opsMax);
      for (const branch of [request.success, request.failure]) checkOverlaps(opsOf(branch));
    } else {
      checkSimple(method, request);
    }
  }

  #checkTxn(request: Message, opsMax: number): void {
    const compares = opsOf(request.compare);
    const branches = [opsOf(request.success), opsOf(request.failure)];
    const used = Math.max(compares.length, ...branches.map(branch => branch.length));
    if (used > opsMax) throw new ModelError('TooManyOps');
    for (const { key } of compares) if (text(key) === '') throw new ModelError('EmptyKey');
    for (const op of branches.flat()) {
      const [kind, inner] = memberOf(op);
      if (kind === 'none') throw new ModelError('KeyNotFound');
      if (kind === 'Txn') this.#checkTxn(inner, opsMax - used);
      else checkSimple(kind, inner);
    }
  }

  #compact(revision: bigint): ModelAnswer {
    if (revision <= this.compacted) throw new ModelError('Compacted');
    if (revision > this.revision) throw new ModelError('FutureRev');
    this.compacted = revision;
    return { response: { header: { revision: this.revision } } };
  }

  #topRange(request: Message): Message {
    const revision = request.revision as bigint;
    if (revision > this.revision) throw new ModelError('FutureRev');
    if (revision > 0n && revision < this.compacted) throw new ModelError('Compacted');
    return this.#range(request, this.revision);
  }

  /** `present`: the revision that an unspecified one means. */
  #range(request: Message, present: bigint): Message {
    const wanted = request.revision as bigint;
    const state = this.stateAt(wanted > 0n ? wanted : present);
    const all = [...state.values()].filter(({ key }) => inRange(key, text(request.key), text(request.range_end)));
    const header = { revision: present };
    const count = BigInt(all.length);
    if (request.count_only === true) return { header, kvs: [], more: false, count };
    const order = request.sort_order as number;
    const limit = request.limit as bigint;
    const filters: [bigint, (kv: ModelKv, bound: bigint) => boolean][] = [
      [request.max_mod_revision as bigint, (kv, bound) => kv.mod <= bound],
      [request.min_mod_revision as bigint, (kv, bound) => kv.mod >= bound],
      [request.max_create_revision as bigint, (kv, bound) => kv.create <= bound],
      [request.min_create_revision as bigint, (kv, bound) => kv.create >= bound],
    ];
    const active = filters.filter(([bound]) => bound !== 0n);
    let found = all.filter(kv => active.every(([bound, passes]) => passes(kv, bound)));
    // A limit counts before sorting when no order was asked for, whatever the target.
    if (order === 0 && active.length === 0 && limit > 0n) found = found.slice(0, Number(limit) + 1);
    found = sorted(found, order, request.sort_target as number);
    const more = limit > 0n && BigInt(found.length) > limit;
    if (more) found = found.slice(0, Number(limit));
    const kvs = found.map(kv => kvMessage(request.keys_only === true ? { ...kv, value: '' } : kv));
    return { header, kvs, more, count };
  }

  /** Throws when a put cannot be made; alone it asks for the lease first, in a transaction for the key. */
  #putExists(request: Message, order: 'lease first' | 'key first'): void {
    const lease = request.lease as bigint;
    const leaseMissing = lease !== 0n && !this.#leases.has(lease);
    const needsKey = request.ignore_value === true || request.ignore_lease === true;
    const keyMissing = needsKey && !this.stateAt(this.revision).has(text(request.key));
    if (keyMissing && (order === 'key first' || !leaseMissing)) throw new ModelError('KeyNotFound');
    if (leaseMissing) throw new ModelError('LeaseNotFound');
  }

  #put(request: Message, main: bigint): Message {
    const key = text(request.key);
    const former = this.stateAt(main).get(key);
    const value = request.ignore_value === true ? (former?.value ?? '') : text(request.value);
    const lease = request.ignore_lease === true ? (former?.lease ?? 0n) : (request.lease as bigint);
    const create = former?.create ?? main;
    this.#add(main, key, { key, create, mod: main, version: (former?.version ?? 0n) + 1n, value, lease });
    const prev = request.prev_kv === true && former !== undefined ? kvMessage(former) : undefined;
    return { header: { revision: main }, prev_kv: prev };
  }

  #delete(request: Message, main: bigint): Message {
    const doomed = [...this.stateAt(main).values()].filter(({ key }) =>
      inRange(key, text(request.key), text(request.range_end)),
    );
    for (const { key } of doomed) this.#add(main, key, undefined);
    const prevKvs = request.prev_kv === true ? doomed.map(kvMessage) : [];
    const changed = this.changes.at(-1)?.main === main;
    return { header: { revision: changed ? main : this.revision }, deleted: BigInt(doomed.length), prev_kvs: prevKvs };
  }

  #add(main: bigint, key: string, kv: ModelKv | undefined): void {
    const last = this.changes.at(-1);
    this.changes.push({ main, sub: last?.main === main ? last.sub + 1n : 0n, key, kv });
  }

  #topTxn(request: Message): Message {
    const outcomes = new Map<Message, boolean>();
    this.#decide(request, outcomes);
    this.#preconditions(request, outcomes);
    const main = this.revision + 1n;
    const response = this.#executeTxn(request, outcomes, main);
    if (this.changes.at(-1)?.main === main) this.revision = main;
    return { ...response, header: { revision: this.revision } };
  }

  #decide(request: Message, outcomes: Map<Message, boolean>): void {
    const succeeded = opsOf(request.compare).every(compare => this.#holds(compare));
    outcomes.set(request, succeeded);
    for (const op of opsOf(succeeded ? request.success : request.failure)) {
      const [kind, inner] = memberOf(op);
      if (kind === 'Txn') this.#decide(inner, outcomes);
    }
  }

  #holds(compare: Message): boolean {
    const kvs = [...this.stateAt(this.revision).values()].filter(({ key }) =>
      inRange(key, text(compare.key), text(compare.range_end)),
    );
    if (kvs.length > 0) return kvs.every(kv => comparesTo(compare, kv));
    return compare.target !== 3 && comparesTo(compare, undefined);
  }

  #preconditions(request: Message, outcomes: ReadonlyMap<Message, boolean>): void {
    for (const op of opsOf(outcomes.get(request) === true ? request.success : request.failure)) {
      const [kind, inner] = memberOf(op);
      if (kind === 'Txn') this.#preconditions(inner, outcomes);
      if (kind === 'Put') this.#putExists(inner, 'key first');
      if (kind !== 'Range' || inner.revision === 0n) continue;
      if ((inner.revision as bigint) > this.revision) throw new ModelError('FutureRev');
      if ((inner.revision as bigint) < this.compacted) throw new ModelError('Compacted');
    }
  }

  #executeTxn(request: Message, outcomes: ReadonlyMap<Message, boolean>, main: bigint): Message {
    const succeeded = outcomes.get(request) === true;
    const responses = opsOf(succeeded ? request.success : request.failure).map((op): Message => {
      const [kind, inner] = memberOf(op);
      if (kind === 'Put') return { response_put: this.#put(inner, main) };
      if (kind === 'DeleteRange') return { response_delete_range: this.#delete(inner, main) };
      if (kind === 'Txn') return { response_txn: this.#executeTxn(inner, outcomes, main) };
      const present = this.changes.at(-1)?.main === main ? main : this.revision;
      return { response_range: this.#range(inner, present) };
    });
    return { header: {}, succeeded, responses };
  }
}

function checkSimple(method: string, request: Message): void {
  if (text(request.key) === '') throw new ModelError('EmptyKey');
  if (method === 'Range') {
    const orderKnown = [0, 1, 2].includes(request.sort_order as number);
    const targetKnown = [0, 1, 2, 3, 4].includes(request.sort_target as number);
    if (!orderKnown || !targetKnown) throw new ModelError('InvalidSortOption');
  }
  if (method !== 'Put') return;
  if (request.ignore_value === true && text(request.value) !== '') throw new ModelError('ValueProvided');
  if (request.ignore_lease === true && request.lease !== 0n) throw new ModelError('LeaseProvided');
}

/**
 * Every pair of operations of a list: two puts of a key, or a put and a delete of it, must not come together. A put in
 * a nested transaction is safe from the deletes of a later one, and a delete without upper bound from nothing else:
 * both are etcd's ways.
 */
function checkOverlaps(ops: Ops): void {
  for (const op of ops) {
    const [kind, inner] = memberOf(op);
    if (kind !== 'Txn') continue;
    checkOverlaps(opsOf(inner.success));
    checkOverlaps(opsOf(inner.failure));
  }
  ops.forEach((left, leftAt) => {
    ops.forEach((right, rightAt) => {
      if (leftAt === rightAt) return;
      const puts = putsIn(right);
      if (leftAt < rightAt && puts.some(key => putsIn(left).includes(key))) throw new ModelError('DuplicateKey');
      const bothNested = memberOf(left)[0] === 'Txn' && memberOf(right)[0] === 'Txn';
      if (bothNested && leftAt > rightAt) return;
      const deletes = deletesIn(left);
      if (puts.some(key => deletes.some(range => literallyCovers(range, key)))) throw new ModelError('DuplicateKey');
    });
  });
}

function literallyCovers(request: Message, key: string): boolean {
  const [start, end] = [text(request.key), text(request.range_end)];
  return end === '' ? key === start : key >= start && key < end;
}

function putsIn(op: Message): string[] {
  const [kind, inner] = memberOf(op);
  if (kind === 'Put') return [text(inner.key)];
  return kind === 'Txn' ? [...opsOf(inner.success), ...opsOf(inner.failure)].flatMap(putsIn) : [];
}

function deletesIn(op: Message): Message[] {
  const [kind, inner] = memberOf(op);
  if (kind === 'DeleteRange') return [inner];
  return kind === 'Txn' ? [...opsOf(inner.success), ...opsOf(inner.failure)].flatMap(deletesIn) : [];
}

function memberOf(op: Message): ['Range' | 'Put' | 'DeleteRange' | 'Txn' | 'none', Message] {
  if (op.request_range !== undefined) return ['Range', messageOf(op.request_range)];
  if (op.request_put !== undefined) return ['Put', messageOf(op.request_put)];
  if (op.request_delete_range !== undefined) return ['DeleteRange', messageOf(op.request_delete_range)];
  return op.request_txn !== undefined ? ['Txn', messageOf(op.request_txn)] : ['none', {}];
}

function inRange(key: string, start: string, end: string): boolean {
  if (end === '') return key === start;
  return key >= start && (end === '\0' || key < end);
}

function comparesTo(compare: Message, kv: ModelKv | undefined): boolean {
  const operands = [compare.version, compare.create_revision, compare.mod_revision, undefined, compare.lease];
  const actual = [kv?.version, kv?.create, kv?.mod, undefined, kv?.lease];
  const target = compare.target as number;
  const left = target === 3 ? kv?.value : (actual[target] ?? 0n);
  const right =
    target === 3 ? text(compare.value ?? Buffer.alloc(0)) : ((operands[target] as bigint | undefined) ?? 0n);
  const order = target > 4 || left === right ? 0 : left! < right ? -1 : 1;
  return [order === 0, order > 0, order < 0, order !== 0][compare.result as number] ?? true;
}

function sorted(kvs: readonly ModelKv[], order: number, target: number): ModelKv[] {
  const fields = ['key', 'version', 'create', 'mod', 'value'] as const;
  const field = fields[target]!;
  if (order === 0 && target === 0) return [...kvs];
  const sign = order === 2 ? -1 : 1;
  return [...kvs].sort((left, right) => (left[field] === right[field] ? 0 : left[field] < right[field] ? -sign : sign));
}

export function kvMessage(kv: ModelKv): Message {
  return {
    key: bytes(kv.key),
    create_revision: kv.create,
    mod_revision: kv.mod,
    version: kv.version,
    value: bytes(kv.value),
    lease: kv.lease,
  };
}
