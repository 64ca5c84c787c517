/**
 * v3lockpb.Lock and v3electionpb.Election: the client library's recipes, run by the server for clients that have none.
 *
 * They work on the member whose endpoint was called, through the same calls as everybody, and what they do is told from
 * the queue in client/queue.ts. Here is only what the services add:
 *   - lease 0 is a new lease of 60 s that nobody keeps alive: the key is gone when it expires;
 *   - every failure has the code Unknown, as in etcd, where an error of the inner call loses its own;
 *   - a client that cancels, or whose deadline passes, while it waits leaves no key behind;
 *   - Observe sends no faster than the connection takes it. It ends with the client; when its own calls are refused, to
 *     who may not read the election's keys, it ends without a word.
 */

import type { EtcdClient } from '../../client/client.js';
import { EtcdError } from '../../client/client.js';
import { type Observed, observeLeader } from '../../client/election.js';
import {
  acquire,
  campaign,
  leave,
  type Place,
  proclaim,
  readOwner,
  type WireHeader,
  type WireKeyValue,
} from '../../client/queue.js';
import { EtcdErrorCode, etcdError, GrpcCode } from '../../wire/errors.js';
import { Method, type MethodInfo } from '../../wire/methods.js';
import { ProtoError } from '../../wire/proto.js';
import { decode, encode, type Message } from '../../wire/schema.js';
import type { Call, CallListener, CancelReason } from '../grpc/call.js';

const sessionTtlSeconds = 60;

/** Whether a method belongs to one of the two services. */
export function isConcurrency({ service }: MethodInfo): boolean {
  return service === 'v3lockpb.Lock' || service === 'v3electionpb.Election';
}

/** Opens a call of one of the two services; `client` reaches the member that was called. */
export function openConcurrency(call: Call, info: MethodInfo, client: EtcdClient): CallListener {
  return new ConcurrencyCall(call, info, client);
}

class ConcurrencyCall implements CallListener {
  readonly #call: Call;
  readonly #info: MethodInfo;
  readonly #client: EtcdClient;
  readonly #cancelled = new AbortController();
  #received = false;
  #drained: (() => void) | undefined;

  constructor(call: Call, info: MethodInfo, client: EtcdClient) {
    this.#call = call;
    this.#info = info;
    this.#client = client;
  }

  message(bytes: Uint8Array): void {
    if (this.#received) {
      this.#call.end(GrpcCode.Internal, 'kvorum: more than one request message for a unary call');
      this.#cancelled.abort(cancelError);
      return;
    }
    this.#received = true;
    // The view is valid during this call only.
    this.#run(bytes.slice()).catch((error: unknown) => this.#fail(error));
  }

  halfClose(): void {
    if (!this.#received) this.#call.end(GrpcCode.Internal, 'kvorum: a unary call without a request message');
  }

  cancel(_reason: CancelReason): void {
    this.#cancelled.abort(cancelError);
    this.#drained?.();
    // Otherwise the work ends the call when it has stopped.
    if (!this.#received) this.#call.end(GrpcCode.Canceled, cancelError.message);
  }

  drain(): void {
    this.#drained?.();
  }

  async #run(bytes: Uint8Array): Promise<void> {
    const { signal } = this.#cancelled;
    if (this.#info.method === Method.Observe) await this.#observe(bytes, signal);
    else this.#call.reply(await answer(this.#client, this.#info.method, bytes, signal));
  }

  async #observe(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const { name } = decode('v3electionpb.LeaderRequest', bytes);
    for await (const observed of observeLeader(this.#client, name, signal)) {
      if (this.#call.sendMessage(encodeObserved(observed))) continue;
      await new Promise<void>(resolve => {
        this.#drained = resolve;
      });
      signal.throwIfAborted();
    }
  }

  #fail(error: unknown): void {
    if (this.#cancelled.signal.aborted) this.#call.end(GrpcCode.Canceled, cancelError.message);
    else if (error instanceof EtcdError) this.#failAs(error);
    else if (error instanceof ProtoError) {
      const { grpcCode, message } = etcdError(EtcdErrorCode.Undecodable, error.message);
      this.#call.end(grpcCode, message);
    } else this.#call.end(GrpcCode.Internal, `kvorum: ${String(error)}`);
  }

  #failAs({ message }: EtcdError): void {
    if (this.#info.method === Method.Observe) this.#call.end(GrpcCode.Ok, '');
    else this.#call.end(GrpcCode.Unknown, message);
  }
}

const cancelError = new EtcdError(GrpcCode.Canceled, etcdError(EtcdErrorCode.ContextCanceled).message);

function answer(client: EtcdClient, method: Method, bytes: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
  if (method === Method.Lock) return lock(client, decode('v3lockpb.LockRequest', bytes), signal);
  if (method === Method.Unlock) return unlock(client, decode('v3lockpb.UnlockRequest', bytes), signal);
  if (method === Method.Campaign) return runCampaign(client, decode('v3electionpb.CampaignRequest', bytes), signal);
  if (method === Method.Proclaim) return runProclaim(client, decode('v3electionpb.ProclaimRequest', bytes), signal);
  if (method === Method.Leader) return leader(client, decode('v3electionpb.LeaderRequest', bytes), signal);
  return resign(client, decode('v3electionpb.ResignRequest', bytes), signal);
}

async function lock(
  client: EtcdClient,
  { name, lease }: Message<'v3lockpb.LockRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { header, key } = await acquire(client, name, await sessionOf(client, lease, signal), signal);
  return encode('v3lockpb.LockResponse', { header, key });
}

async function unlock(
  client: EtcdClient,
  { key }: Message<'v3lockpb.UnlockRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const request = encode('etcdserverpb.DeleteRangeRequest', { key });
  const response = await client.channel.unary(Method.KvDeleteRange, request, { signal });
  const { header } = decode('etcdserverpb.DeleteRangeResponse', response);
  return encode('v3lockpb.UnlockResponse', { header });
}

async function runCampaign(
  client: EtcdClient,
  { name, lease, value }: Message<'v3electionpb.CampaignRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const session = await sessionOf(client, lease, signal);
  const { header, key, revision } = await campaign(client, name, session, value, signal);
  return encode('v3electionpb.CampaignResponse', { header, leader: { name, key, rev: revision, lease: session } });
}

async function runProclaim(
  client: EtcdClient,
  request: Message<'v3electionpb.ProclaimRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const place = placeOf(request.leader);
  const lease = await sessionOf(client, place.lease, signal);
  const header = await proclaim(client.channel, { ...place, lease }, request.value, signal);
  return encode('v3electionpb.ProclaimResponse', { header });
}

async function resign(
  client: EtcdClient,
  request: Message<'v3electionpb.ResignRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const header = await leave(client.channel, placeOf(request.leader), signal);
  return encode('v3electionpb.ResignResponse', { header });
}

async function leader(
  client: EtcdClient,
  { name }: Message<'v3electionpb.LeaderRequest'>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { header, kv } = await readOwner(client.channel, name, signal);
  if (kv === undefined) throw refusal(EtcdErrorCode.ElectionNoLeader);
  return encodeLeader(header, kv);
}

/** The lease to work with: the caller's, or a new one. */
async function sessionOf(client: EtcdClient, lease: bigint, signal: AbortSignal): Promise<bigint> {
  return lease === 0n ? (await client.leaseGrant({ ttlSeconds: sessionTtlSeconds, signal })).id : lease;
}

/** The leader that Campaign answered, as the client gives it back. */
function placeOf(leader: Message<'v3electionpb.LeaderKey'> | undefined): Pick<Place, 'key' | 'revision' | 'lease'> {
  if (leader === undefined) throw refusal(EtcdErrorCode.LeaderFieldMissing);
  return { key: leader.key, revision: Number(leader.rev), lease: leader.lease };
}

function encodeLeader(header: WireHeader, kv: WireKeyValue): Uint8Array {
  return encode('v3electionpb.LeaderResponse', { header, kv });
}

function encodeObserved({ header, kv }: Observed): Uint8Array {
  return encode('v3electionpb.LeaderResponse', {
    header: {
      cluster_id: header.clusterId,
      member_id: header.memberId,
      revision: header.revision,
      raft_term: header.raftTerm,
    },
    kv: {
      key: kv.keyBytes,
      value: kv.valueBytes,
      create_revision: kv.createRevision,
      mod_revision: kv.modRevision,
      version: kv.version,
      lease: kv.lease,
    },
  });
}

function refusal(code: EtcdErrorCode): EtcdError {
  const { grpcCode, message } = etcdError(code);
  return new EtcdError(grpcCode, message);
}
