/**
 * Where servers differ on purpose: the complete list, each entry with its reason.
 *
 * kvorum follows the newest release (3.6). An entry names the families it may occur between and recognises exactly the
 * two answers it allows; a difference that is not recognised here is a failure of the differential tests.
 */
import { isDeepStrictEqual } from 'node:util';
import { comparable } from './comparable.js';
import type { Family, Outcome, Side } from './differential.js';
import type { Message } from './messages.js';
import type { Operation } from './programs.js';
import { answersEarly, type Control, type WatcherLog, type WatchObservation } from './watch-run.js';

interface Answer {
  readonly side: Side;
  readonly outcome: Outcome;
}

interface KnownDifference {
  readonly name: string;
  readonly reason: string;
  recognises(operation: Operation, one: Answer, other: Answer): boolean;
}

export const knownDifferences: readonly KnownDifference[] = [
  {
    name: 'decode error text',
    reason: 'the text after the prefix is the protobuf library’s, which is not part of the interface',
    recognises: (_, one, other) => [one, other].every(answer => isDecodeError(answer.outcome)),
  },
  {
    name: 'undefined sort order',
    reason: 'refused as an invalid sort option since 3.6; older releases answer as if no order had been asked for',
    recognises: (operation, one, other) =>
      isBefore36(one) &&
      other.side.family === 'kvorum' &&
      operation.method === 'Range' &&
      !sortOrders.includes(operation.request?.sort_order as number) &&
      other.outcome.status === 3 &&
      other.outcome.text === 'etcdserver: invalid sort option',
  },
  {
    name: 'order of preconditions',
    reason:
      'since 3.6 the operations of a transaction are checked in order; older releases check all puts before the ' +
      'ranges, so that of several reasons to refuse it they give the one of the put',
    recognises: (operation, one, other) =>
      isBefore36(one) &&
      other.side.family === 'kvorum' &&
      operation.method === 'Txn' &&
      putRefusals.includes(one.outcome.text) &&
      rangeRefusals.includes(other.outcome.text),
  },
  {
    name: 'hash at the compacted revision',
    reason: 'since 3.5 a server answers from the hash it kept of a compaction; 3.4 counts the revision as compacted',
    recognises: (operation, one, other) =>
      one.side.family === 'etcd-3.4' &&
      operation.method === 'HashKV' &&
      one.outcome.text === 'etcdserver: mvcc: required revision has been compacted' &&
      other.outcome.status === 0 &&
      other.side.family !== 'etcd-3.4',
  },
  {
    name: 'tombstone in the hash',
    reason: 'a tombstone at the hashed revision counts since 3.4.34, 3.5.16 and 3.6; 3.4.23 leaves it out',
    recognises: (operation, one, other) =>
      one.side.family === 'etcd-3.4' &&
      other.side.family !== 'etcd-3.4' &&
      operation.method === 'HashKV' &&
      differOnlyIn(['hash', 'hash_revision'], one, other),
  },
  {
    name: 'hash revision',
    reason: 'the answer names the revision it hashed since 3.6',
    recognises: (operation, one, other) =>
      isBefore36(one) &&
      operation.method === 'HashKV' &&
      differOnlyIn(['hash_revision'], one, other) &&
      other.outcome.response?.hash_revision === hashedRevision(operation, other),
  },
  {
    name: 'order among equals',
    reason:
      'sorting by anything but the key is not stable in etcd once there are more than twelve candidates; which of ' +
      'several equal pairs comes first, or is cut off by the limit, is not promised',
    recognises: (operation, one, other) =>
      (one.side.family === 'kvorum') !== (other.side.family === 'kvorum') && sameButForTies(operation, one, other),
  },
];

/** The name of the listed difference that explains why the two answers are not equal; undefined when there is none. */
export function isKnownDifference(operation: Operation, left: Answer, right: Answer): string | undefined {
  return knownDifferences.find(
    difference => difference.recognises(operation, left, right) || difference.recognises(operation, right, left),
  )?.name;
}

/** Where watches differ on purpose: what is left out of the comparison of one family with another. */
export const watchDifferences: readonly {
  readonly name: string;
  readonly reason: string;
  leavesOutControl?(family: Family, other: Family, control: Control): boolean;
  leavesOutEvent?(family: Family, other: Family, watcher: WatcherLog, event: Message): boolean;
}[] = [
  {
    name: 'progress before all watchers have begun',
    reason:
      'a progress request is answered only when every watcher of the stream has caught up (since 3.4.25, 3.5.8) and ' +
      'has reached its start revision (etcd pull request 20229); 3.4.23 minds neither, 3.5.16 not the latter',
    leavesOutControl: (family, other, { early }) =>
      early !== undefined && answersEarly(family, early) && !answersEarly(other, early),
  },
  {
    name: 'tombstone at the compacted revision',
    reason: 'a delete at exactly the compacted revision can still be watched since 3.4.34, 3.5.16 and 3.6',
    leavesOutEvent: (family, other, { compacted }, { type, kv }) =>
      family !== 'etcd-3.4' && other === 'etcd-3.4' && type === 1 && (kv as Message).mod_revision === compacted,
  },
];

/** What is compared of an observation with that of another family; `met` counts what was left out. */
export function comparableWatches(one: WatchObservation, other: Family, met: Map<string, number>): Message {
  const leftOut = (name: string) => met.set(name, (met.get(name) ?? 0) + 1);
  const keptControl = (control: Control) => {
    const known = watchDifferences.find(({ leavesOutControl }) => leavesOutControl?.(one.family, other, control));
    if (known !== undefined) leftOut(known.name);
    return known === undefined;
  };
  const keptEvent = (watcher: WatcherLog, event: Message) => {
    const known = watchDifferences.find(({ leavesOutEvent }) => leavesOutEvent?.(one.family, other, watcher, event));
    if (known !== undefined) leftOut(known.name);
    return known === undefined;
  };
  return {
    writes: one.writes.map(({ status, text, response }) => ({
      status,
      text,
      response: response && comparable(response),
    })),
    streams: one.streams.map(({ controls, watchers }) => ({
      controls: controls.filter(keptControl).map(({ response }) => comparable(response)),
      watchers: watchers.map(log => log.events.filter(event => keptEvent(log, event))),
    })),
  };
}

const putRefusals = ['etcdserver: key not found', 'etcdserver: requested lease not found'];
const rangeRefusals = [
  'etcdserver: mvcc: required revision has been compacted',
  'etcdserver: mvcc: required revision is a future revision',
];
const sortOrders = [0, 1, 2];

/** The revision a HashKV is for: the one asked for, or the newest. */
function hashedRevision({ request }: Operation, { outcome }: Answer): Message[string] {
  if (request?.revision !== undefined && request.revision !== 0n) return request.revision;
  const header = outcome.response?.header as Message | undefined;
  return header?.revision;
}

function isBefore36(answer: Answer): boolean {
  return answer.side.family === 'etcd-3.4' || answer.side.family === 'etcd-3.5';
}

/** Whether both answers are OK and equal when the named top-level fields are left out. */
function differOnlyIn(fields: readonly string[], one: Answer, other: Answer): boolean {
  const [a, b] = [one, other].map(({ outcome }) => {
    if (outcome.response === undefined) return undefined;
    return Object.fromEntries(Object.entries(comparable(outcome.response)).filter(([name]) => !fields.includes(name)));
  });
  return a !== undefined && b !== undefined && isDeepStrictEqual(a, b);
}

function isDecodeError(outcome: Outcome): boolean {
  return outcome.status === 13 && outcome.text.startsWith('grpc: error unmarshalling request:');
}

/** Whether two answers become equal once ties of every sorted range in them are put in one order. */
function sameButForTies(operation: Operation, one: Answer, other: Answer): boolean {
  const { request } = operation;
  if (request === undefined) return false;
  const [a, b] = [one, other].map(({ outcome }) => {
    if (outcome.response === undefined) return undefined;
    const response = comparable(outcome.response);
    if (operation.method === 'Range') return withoutTies(request, response);
    return operation.method === 'Txn' ? withoutTiesInTxn(request, response) : response;
  });
  return a !== undefined && b !== undefined && isDeepStrictEqual(a, b);
}

function withoutTiesInTxn(request: Message, response: Message): Message {
  const branch = request[response.succeeded === true ? 'success' : 'failure'] as readonly Message[];
  const responses = (response.responses as readonly Message[]).map((item, index) => {
    const asked = branch[index] ?? {};
    const [range, txn] = [asked.request_range, asked.request_txn] as (Message | undefined)[];
    if (range !== undefined) return { response_range: withoutTies(range, item.response_range as Message) };
    return txn === undefined ? item : { response_txn: withoutTiesInTxn(txn, item.response_txn as Message) };
  });
  return { ...response, responses };
}

const sortTargets = ['key', 'version', 'create_revision', 'mod_revision', 'value'] as const;
const stableCandidatesMax = 12;

/** The pairs of one range with equal ones in key order; of the last group only the number counts if it was cut off. */
function withoutTies(request: Message, response: Message): Message {
  const target = sortTargets[request.sort_target as number];
  if (target === undefined || target === 'key' || (response.count as bigint) <= stableCandidatesMax) return response;
  const pairs = response.kvs as readonly Message[];
  // Values were emptied after sorting: what was equal cannot be told any more, so nothing is said about the order.
  const hidden = target === 'value' && request.keys_only === true;
  const rank = (pair: Message) => (hidden ? 0 : pair[target] instanceof Uint8Array ? hex(pair[target]) : pair[target]);
  const last = pairs.at(-1);
  const kvs = pairs.map(pair => {
    const cut = response.more === true && last !== undefined && rank(pair) === rank(last);
    return cut ? { [target]: rank(pair) } : pair;
  });
  const ranks = pairs.map(rank);
  const order = (pair: Message) => `${ranks.indexOf(rank(pair))}`.padStart(6, '0') + hex(pair.key ?? '');
  return { ...response, kvs: kvs.sort((a, b) => (order(a) < order(b) ? -1 : 1)) as Message[] };
}

function hex(bytes: Message[string]): string {
  return bytes instanceof Uint8Array ? Buffer.from(bytes).toString('hex') : '';
}
