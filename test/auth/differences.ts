/**
 * Where servers decide differently about who may do what, on purpose: the complete list, each entry with its reason.
 *
 * kvorum follows the newest release (3.6), the peers are 3.4.23 and 3.5.16, and many checks were added since. That a
 * refusal is one of those is not taken on trust: the older server is asked, as the same bearer, for something it does
 * check which stands for the same right. It has to refuse that with the words the newer one used.
 */
import { isDeepStrictEqual } from 'node:util';
import type { CallName } from '../support/calls.js';
import type { Family, Outcome } from '../support/differential.js';
import type { Message } from '../support/messages.js';

/** Two servers' answers to the same question, and a way to ask the older one more. */
export interface Dispute {
  readonly call: CallName;
  readonly request: Message;
  readonly older: Outcome;
  readonly newer: Outcome;
  readonly olderFamily: Family;
  readonly newerFamily: Family;
  /** Asks the older server as the same bearer. What is asked must not change anything. */
  ask(call: CallName, request: Message): Promise<Outcome>;
  /** Asks the older server as somebody with role root. */
  askAsRoot(call: CallName, request: Message): Promise<Outcome>;
}

interface Difference {
  readonly name: string;
  readonly reason: string;
  recognises(dispute: Dispute): boolean | Promise<boolean>;
}

export const differences: readonly Difference[] = [
  {
    name: 'no such calls',
    reason: 'they came with 3.5',
    recognises: ({ call, older, olderFamily }) =>
      olderFamily === 'etcd-3.4' && (call === 'AuthStatus' || call === 'Downgrade') && older.status === 12,
  },
  {
    name: 'permission on a range that is none',
    reason: 'refused since 3.5 when the end is not above the key; 3.4 grants it, to no effect',
    recognises: ({ call, older, newer, olderFamily }) =>
      olderFamily === 'etcd-3.4' &&
      call === 'RoleGrantPermission' &&
      older.status === 0 &&
      newer.text === 'etcdserver: invalid auth management',
  },
  {
    name: 'code of a maintenance refusal',
    reason: 'releases before 3.6 let the auth store’s own error out, without a code; 3.4 of alarms too',
    recognises: ({ call, older, newer, newerFamily }) =>
      (newerFamily === 'kvorum' || call === 'Alarm') &&
      older.status === 2 &&
      isDeepStrictEqual(withoutCode.get(older.text), sayings(newer)),
  },
  {
    name: 'permission of the role root',
    reason: 'since 3.6 RoleGet tells what the role root may, everything, whatever was granted to it',
    recognises: ({ call, request, older, newer, newerFamily }) =>
      newerFamily === 'kvorum' &&
      call === 'RoleGet' &&
      request.role === 'root' &&
      older.status === 0 &&
      isDeepStrictEqual(newer.response?.perm, everything),
  },
  {
    name: 'calls for root only',
    reason: 'compaction, alarms and a new leader ask for role root since 3.5.28 and 3.6.9 (GHSA-q8m4-xhhv-38mg)',
    recognises: async dispute =>
      dispute.newerFamily === 'kvorum' &&
      (rootOnly.includes(dispute.call) || (dispute.call === 'Alarm' && dispute.request.action !== undefined)) &&
      !isRefusal(dispute.older) &&
      isRefusal(dispute.newer) &&
      saysTheSame(dispute.newer, await dispute.ask('UserGet', nobodyElse)),
  },
  {
    name: 'calls for users only',
    reason:
      'who asks for these has to be a user, any, since 3.5.28 and 3.6.9 (GHSA-q8m4-xhhv-38mg); for the keys of a ' +
      'lease since 3.5.12',
    recognises: async dispute =>
      (dispute.newerFamily === 'kvorum' ? usersOnly.has(dispute.call) : dispute.call === 'LeaseTimeToLive') &&
      !isRefusal(dispute.older) &&
      isRefusal(dispute.newer) &&
      dispute.newer.status !== permissionDenied &&
      saysTheSame(dispute.newer, await dispute.ask('UserGet', nobodyElse)),
  },
  {
    name: 'keys of leases',
    reason:
      'who keeps a lease alive has to have the right to write its keys, who asks for its keys or for all leases to ' +
      'read them, since 3.5.28 and 3.6.9; 3.5.16 minds only the keys of one lease, 3.4.23 nothing',
    recognises: async dispute =>
      ['LeaseKeepAlive', 'LeaseTimeToLive', 'LeaseLeases'].includes(dispute.call) &&
      dispute.older.status === 0 &&
      isRefusal(dispute.newer) &&
      (await anyPartRefused(dispute, await keyParts(dispute))),
  },
  {
    name: 'parts of transactions',
    reason:
      'transactions in transactions (CVE-2026-33343), prev_kv and leases of their puts (CVE-2026-44283) need the ' +
      'same rights as outside; before 3.5.28 and 3.5.30 they were not looked at',
    recognises: async dispute =>
      dispute.newerFamily === 'kvorum' &&
      dispute.call === 'Txn' &&
      !isRefusal(dispute.older) &&
      isRefusal(dispute.newer) &&
      (await anyPartRefused(dispute, await txnParts(dispute.request, dispute))),
  },
  {
    name: 'watch from a key on',
    reason: 'the right to read one key was enough to watch from it to the end of all keys (GHSA-xg4h-6gfc-h4m8)',
    recognises: async dispute => {
      const range = dispute.request.create_request as Message | undefined;
      return (
        dispute.newerFamily === 'kvorum' &&
        dispute.call === 'Watch' &&
        dispute.older.response?.canceled === false &&
        dispute.newer.response?.canceled === true &&
        isDeepStrictEqual(range?.range_end, toTheEnd) &&
        isRefusal(await dispute.ask('Range', { ...range, limit: 1n }))
      );
    },
  },
  {
    name: 'range that is none',
    reason:
      'whether somebody may ask for a range that ends before it begins, in which nothing is, depends in etcd on the ' +
      'order in which its tree of permissions came to hold them',
    recognises: async dispute => {
      if (dispute.older.status !== permissionDenied && dispute.older.response?.canceled !== true) return false;
      const refused: Message[] = [];
      for (const part of await rangeParts(dispute)) {
        if (isRefusal(await dispute.ask('Txn', { failure: [part] }))) refused.push(part);
      }
      return refused.length > 0 && refused.every(isOnNoRange);
    },
  },
];

const permissionDenied = 7;
const toTheEnd = Buffer.from([0]);
const everything = [{ permType: 2, key: Buffer.alloc(0), range_end: toTheEnd }];
/** A question only administrators may ask, of every release, which changes nothing. */
const nobodyElse = { name: 'no user has this name' };
const rootOnly: readonly CallName[] = ['Compact', 'MoveLeader', 'Downgrade'];
const usersOnly = new Set<CallName>([
  ...(['MemberList', 'LeaseGrant', 'LeaseRevoke', 'LeaseKeepAlive', 'LeaseTimeToLive', 'LeaseLeases'] as const),
  ...(['Alarm', 'Status'] as const),
]);
const refusals = [
  ['permission denied', permissionDenied],
  ['user name is empty', 3],
  ['invalid auth token', 16],
  ['revision of auth store is old', 3],
] as const;
/** What older releases say of maintenance calls, and what they should. */
const withoutCode = new Map([
  ...refusals.map(([text, status]) => [`auth: ${text}`, { status, text: `etcdserver: ${text}` }] as const),
  ['auth: revision in header is old', { status: 3, text: 'etcdserver: revision of auth store is old' }],
]);

/** The name of the listed difference that explains why the two answers are not equal; undefined when there is none. */
export async function knownDifference(dispute: Dispute): Promise<string | undefined> {
  for (const { name, recognises } of differences) if (await recognises(dispute)) return name;
  return undefined;
}

function sayings({ status, text }: Outcome) {
  return { status, text };
}

function saysTheSame(one: Outcome, other: Outcome): boolean {
  return isDeepStrictEqual(sayings(one), sayings(other));
}

function isRefusal({ status, text }: Outcome): boolean {
  return refusals.some(([said, code]) => status === code && text === `etcdserver: ${said}`);
}

/** Whether the older server refuses one of these with the newer one's words when it is asked for alone. */
async function anyPartRefused({ ask, newer }: Dispute, parts: readonly Message[]): Promise<boolean> {
  for (const part of parts) if (saysTheSame(newer, await ask('Txn', { failure: [part] }))) return true;
  return false;
}

/** What a lease call needs, as operations of a transaction. */
async function keyParts(dispute: Dispute): Promise<Message[]> {
  const { call, request } = dispute;
  if (call === 'LeaseTimeToLive' && request.keys !== true) return [];
  const asked = call === 'LeaseLeases' ? await dispute.askAsRoot('LeaseLeases', {}) : undefined;
  const leases = asked === undefined ? [request.ID] : leasesOf(asked).map(({ ID }) => ID);
  const keys: Buffer[] = [];
  for (const ID of leases) keys.push(...(await keysOf(ID as bigint, dispute)));
  return keys.map(key => (call === 'LeaseKeepAlive' ? { request_put: { key } } : { request_range: { key } }));
}

function leasesOf({ response }: Outcome): Message[] {
  return (response?.leases ?? []) as Message[];
}

async function keysOf(ID: bigint, { askAsRoot }: Dispute): Promise<Buffer[]> {
  const { response } = await askAsRoot('LeaseTimeToLive', { ID, keys: true });
  return (response?.keys ?? []) as Buffer[];
}

/** What a call asks of ranges, as operations of a transaction. */
async function rangeParts(dispute: Dispute): Promise<readonly Message[]> {
  const { call, request } = dispute;
  if (call === 'Txn') return txnParts(request, dispute);
  if (call === 'DeleteRange') return [{ request_delete_range: request }];
  const range = call === 'Watch' ? (request.create_request as Message) : request;
  return call === 'Range' || call === 'Watch' ? [{ request_range: rangeOf(range) }] : [];
}

function rangeOf({ key, range_end }: Message): Message {
  return { key, range_end };
}

function isOnNoRange(operation: Message): boolean {
  const range = (operation.request_range ?? operation.request_delete_range) as Message | undefined;
  const end = range?.range_end as Buffer | undefined;
  if (end === undefined || end.length === 0 || end.equals(toTheEnd)) return false;
  return Buffer.compare(range?.key as Buffer, end) >= 0;
}

/** Everything a transaction does, at any depth, as operations that need the same rights without being looked into. */
async function txnParts(txn: Message, dispute: Dispute): Promise<Message[]> {
  const compares = (txn.compare ?? []) as readonly Message[];
  const operations = [txn.success ?? [], txn.failure ?? []].flat() as readonly Message[];
  const parts = compares.map((compare): Message => ({ request_range: rangeOf(compare) }));
  for (const operation of operations) {
    const { request_txn: nested, request_put: put } = operation as Record<string, Message | undefined>;
    if (nested !== undefined) parts.push(...(await txnParts(nested, dispute)));
    else parts.push(operation);
    if (put === undefined) continue;
    if (put.prev_kv === true) parts.push({ request_range: { key: put.key } });
    const lease = (put.lease ?? 0n) as bigint;
    if (lease !== 0n) parts.push(...(await keysOf(lease, dispute)).map(key => ({ request_put: { key } })));
  }
  return parts;
}
