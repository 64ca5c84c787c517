/**
 * The queue that locks and elections stand in, as etcd's own clients and servers do: its keys mean the same to all.
 *
 *   name/<lease in hex>     one key a participant, hung on its lease; the lowest create revision is the owner
 *
 *   enter: put the own key unless it is there       wait: for the next older key to be deleted, until there is none
 *   leave: delete the own key, if it is still the one that was put
 *
 * Everybody waits for one other only, so that an owner that leaves wakes one participant and turns are taken in order.
 * The own key may vanish while one waits (its lease ran out): whoever waited looks once more before taking its turn.
 * Answers are kept as messages here, with their headers: the server-side services hand them on.
 */
import { concatBytes, EMPTY_BYTES, utf8Encode } from '../base/bytes.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { decode, encode, enums, type Message, type MessageInput } from '../wire/schema.js';
import type { Channel } from './channel.js';
import type { EtcdClient } from './client.js';
import { CompactedError, tableError } from './errors.js';
import { boundsOf } from './ranges.js';

export type WireHeader = Message<'etcdserverpb.ResponseHeader'>;
export type WireKeyValue = Message<'mvccpb.KeyValue'>;

/** A participant: its key, and the revision that created it. */
export interface Place {
  readonly key: Uint8Array;
  readonly revision: number;
  readonly lease: bigint;
  /** Of the answer that told so. */
  readonly header: WireHeader;
}

interface Entered extends Place {
  /** Whether the key was there before. */
  readonly former: WireKeyValue | undefined;
  /** Whether nobody is before it; undefined: not asked. */
  readonly isOwner: boolean | undefined;
}

type Op = MessageInput<'etcdserverpb.RequestOp'>;

const { CREATE } = enums['etcdserverpb.RangeRequest.SortTarget'];
const { ASCEND } = enums['etcdserverpb.RangeRequest.SortOrder'];

/** How long a step that must not be interrupted may take; the server gives up earlier. */
const stepTimeoutMs = 10_000;
const steadily = { timeoutMs: stepTimeoutMs } as const;

/** The prefix of all participants' keys. */
export function prefixOf(name: Uint8Array): Uint8Array {
  return concatBytes(name, utf8Encode('/'));
}

/** Locks: enters, waits for its turn and resolves as the owner. Rejects, with the own key removed, when aborted. */
export async function acquire(
  client: EtcdClient,
  name: Uint8Array,
  lease: bigint,
  signal: AbortSignal,
): Promise<Place> {
  signal.throwIfAborted();
  // Not interrupted: who gives up must know whether there is a key to remove.
  const place = await enter(client.channel, name, lease, EMPTY_BYTES, true);
  try {
    signal.throwIfAborted();
    if (place.isOwner === true) return place;
    await waitForTurn(client, name, place, signal);
    const found = await readOwn(client.channel, place);
    signal.throwIfAborted();
    if (found === undefined) throw tableError(EtcdErrorCode.SessionExpired);
    return { ...place, header: found };
  } catch (error) {
    await leaveQuietly(client.channel, place);
    throw error;
  }
}

/** Campaigns: as `acquire`, with a value; one that is there already is replaced. */
export async function campaign(
  client: EtcdClient,
  name: Uint8Array,
  lease: bigint,
  value: Uint8Array,
  signal: AbortSignal,
): Promise<Place> {
  signal.throwIfAborted();
  const entered = await enter(client.channel, name, lease, value, false);
  let place: Place = entered;
  try {
    if (entered.former !== undefined && !isSame(entered.former.value, value)) {
      place = { ...place, header: await proclaim(client.channel, place, value) };
    }
    signal.throwIfAborted();
    const waited = await waitForTurn(client, name, place, signal);
    if (waited && (await readOwn(client.channel, place)) === undefined) throw notLeader();
    signal.throwIfAborted();
    return place;
  } catch (error) {
    await leaveQuietly(client.channel, place);
    throw error;
  }
}

/** Replaces the leader's value; rejects with `election: not leader` when the key is not that leader's any more. */
export async function proclaim(
  channel: Channel,
  { key, revision, lease }: Pick<Place, 'key' | 'revision' | 'lease'>,
  value: Uint8Array,
  signal?: AbortSignal,
): Promise<WireHeader> {
  const success = [{ request_put: { key, value, lease } }];
  const { succeeded, header } = await txn(channel, key, revision, success, [], signal);
  if (!succeeded) throw notLeader();
  return header;
}

/** Deletes the own key, if it is still the own one. */
export async function leave(
  channel: Channel,
  { key, revision }: Pick<Place, 'key' | 'revision'>,
  signal?: AbortSignal,
): Promise<WireHeader> {
  return (await txn(channel, key, revision, [{ request_delete_range: { key } }], [], signal)).header;
}

/** The owner, the participant with the lowest create revision, if there is one; now or at `revision`. */
export async function readOwner(
  channel: Channel,
  name: Uint8Array,
  signal?: AbortSignal,
  revision = 0,
): Promise<{ header: WireHeader; kv: WireKeyValue | undefined }> {
  const request = encode('etcdserverpb.RangeRequest', { ...ownerRange(name), revision });
  const response = await channel.unary(Method.KvRange, request, signal === undefined ? steadily : { signal });
  const { header = emptyHeader, kvs } = decode('etcdserverpb.RangeResponse', response);
  return { header, kv: kvs[0] };
}

/** Waits until the key that was there at `revision` is deleted; false: the history is gone, look what is there. */
export async function untilDeleted(
  client: EtcdClient,
  key: Uint8Array,
  revision: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    for await (const event of client.watch(key, { startRevision: revision + 1, filter: 'noPut', signal })) {
      if (event.type === 'delete') return true;
    }
  } catch (error) {
    if (!(error instanceof CompactedError)) throw error;
  }
  return false;
}

/** The header of an answer that shows the own key still there, or undefined. */
export async function readOwn(
  channel: Channel,
  { key, revision }: Pick<Place, 'key' | 'revision'>,
): Promise<WireHeader | undefined> {
  const response = await channel.unary(Method.KvRange, encode('etcdserverpb.RangeRequest', { key }), steadily);
  const { header = emptyHeader, kvs } = decode('etcdserverpb.RangeResponse', response);
  return kvs[0] !== undefined && Number(kvs[0].create_revision) === revision ? header : undefined;
}

/** Puts the own key unless it is there; asks for the owner in the same transaction if wanted. */
async function enter(
  channel: Channel,
  name: Uint8Array,
  lease: bigint,
  value: Uint8Array,
  withOwner: boolean,
): Promise<Entered> {
  const key = concatBytes(prefixOf(name), utf8Encode(lease.toString(16)));
  const owner: Op[] = withOwner ? [{ request_range: ownerRange(name) }] : [];
  const put: Op = { request_put: { key, value, lease } };
  const get: Op = { request_range: { key } };
  const { succeeded, header, responses } = await txn(channel, key, 0, [put, ...owner], [get, ...owner]);
  const former = succeeded ? undefined : responses[0]?.response_range?.kvs[0];
  const revision = Number(former?.create_revision ?? header.revision);
  const first = responses[1]?.response_range?.kvs[0];
  const isOwner = withOwner ? first === undefined || Number(first.create_revision) === revision : undefined;
  return { key, revision, lease, header, former, isOwner };
}

/** Waits until nobody is before `place`; whether there was a wait. */
async function waitForTurn(
  client: EtcdClient,
  name: Uint8Array,
  { revision }: Place,
  signal: AbortSignal,
): Promise<boolean> {
  const range = { prefix: prefixOf(name) };
  const settings = { limit: 1, sortBy: 'createRevision', descending: true, maxCreateRevision: revision - 1 } as const;
  for (let waited = false; ; waited = true) {
    const found = await client.getAll(range, { ...settings, signal });
    const before = found.kvs[0];
    if (before === undefined) return waited;
    await untilDeleted(client, before.keyBytes, found.revision, signal);
  }
}

/** What is left behind by an error here goes with the lease. */
async function leaveQuietly(channel: Channel, place: Place): Promise<void> {
  await leave(channel, place).catch(() => {});
}

/** One transaction on the condition that `key` was created at `createRevision` (0: does not exist). */
async function txn(
  channel: Channel,
  key: Uint8Array,
  createRevision: number,
  success: readonly Op[],
  failure: readonly Op[],
  signal?: AbortSignal,
) {
  const compare = [{ result: EQUAL, target: TARGET_CREATE, key, create_revision: createRevision }];
  const request = encode('etcdserverpb.TxnRequest', { compare, success, failure });
  const response = await channel.unary(Method.KvTxn, request, signal === undefined ? steadily : { signal });
  const { header = emptyHeader, succeeded, responses } = decode('etcdserverpb.TxnResponse', response);
  return { header, succeeded, responses };
}

const { EQUAL } = enums['etcdserverpb.Compare.CompareResult'];
const { CREATE: TARGET_CREATE } = enums['etcdserverpb.Compare.CompareTarget'];
const emptyHeader: WireHeader = { cluster_id: 0n, member_id: 0n, revision: 0n, raft_term: 0n };

function ownerRange(name: Uint8Array) {
  const { key, rangeEnd } = boundsOf({ prefix: prefixOf(name) });
  return { key, range_end: rangeEnd, limit: 1, sort_order: ASCEND, sort_target: CREATE };
}

function notLeader() {
  return tableError(EtcdErrorCode.ElectionNotLeader);
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
