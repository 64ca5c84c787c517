/**
 * One connection to one endpoint through @grpc/grpc-js, with the tests' own codec: nothing of the product is in it, so
 * it speaks to a real etcd and to kvorum alike.
 *
 * A failed call is a result, not an exception: under faults most of a client's work is to look at failures.
 */
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { decodeMessage, encodeMessage, type Message } from '../support/messages.js';
import type { KeyValue, WatchEvent, WatchRequest, WatchResponse } from './records.js';

const methods = {
  Range: '/etcdserverpb.KV/Range',
  Txn: '/etcdserverpb.KV/Txn',
  Compaction: '/etcdserverpb.KV/Compact',
  LeaseGrant: '/etcdserverpb.Lease/LeaseGrant',
} as const;

export type Method = keyof typeof methods;

export type Answer =
  | { readonly ok: true; readonly message: Message; readonly revision: number }
  | { readonly ok: false; readonly code: number; readonly details: string };

export type WatchCall = ClientDuplexStream<Buffer, Buffer>;

const same = (bytes: Buffer) => bytes;

export class EtcdConnection {
  readonly endpoint: string;
  readonly #client: Client;
  readonly #deadlineMs: number;

  /** `endpoint` is `host:port`. Connects when it is first used and again whenever it was lost. */
  constructor(endpoint: string, deadlineMs: number) {
    this.endpoint = endpoint;
    this.#deadlineMs = deadlineMs;
    this.#client = new Client(endpoint, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }

  call(method: Method, request: Message): Promise<Answer> {
    const bytes = encodeMessage(`${method}Request`, request);
    const options = { deadline: Date.now() + this.#deadlineMs };
    return new Promise(resolve => {
      const answered = (error: ServiceError | null, response?: Buffer) => {
        if (error !== null) return resolve({ ok: false, code: error.code, details: error.details });
        const message = decodeMessage(`${method}Response`, response!);
        resolve({ ok: true, message, revision: Number((message.header as Message).revision) });
      };
      this.#client.makeUnaryRequest(methods[method], same, same, bytes, new Metadata(), options, answered);
    });
  }

  /** Opens a watch stream; with `requireLeader` the server ends it when its member has had no leader for a while. */
  watch(requireLeader: boolean): WatchCall {
    const metadata = new Metadata();
    if (requireLeader) metadata.set('hasleader', 'true');
    return this.#client.makeBidiStreamRequest('/etcdserverpb.Watch/Watch', same, same, metadata);
  }

  close(): void {
    this.#client.close();
  }
}

export function encodeCreate(request: WatchRequest): Buffer {
  return encodeMessage('WatchRequest', {
    create_request: {
      key: Buffer.from(request.key, 'latin1'),
      range_end: Buffer.from(request.rangeEnd, 'latin1'),
      start_revision: BigInt(request.startRevision),
      progress_notify: request.progressNotify,
      filters: [...(request.noPut ? [0] : []), ...(request.noDelete ? [1] : [])],
      prev_kv: request.prevKv,
      watch_id: BigInt(request.watchId),
      fragment: request.fragment,
    },
  });
}

export function encodeCancel(watchId: number): Buffer {
  return encodeMessage('WatchRequest', { cancel_request: { watch_id: BigInt(watchId) } });
}

export function encodeProgress(): Buffer {
  return encodeMessage('WatchRequest', { progress_request: {} });
}

/** The text of a failure without what is another one every time. */
export function shortened(details: string): string {
  return details.replace(/^(Deadline exceeded) after .*/, '$1').replace(/ (connect ECONNREFUSED) .*/, ' $1');
}

/**
 * Decodes pairs and keeps each only once: every watcher gets the same pairs, and a run of minutes keeps them all.
 * What differs from the pair known by its revision and key is kept as it is, for the validators to find.
 */
export class PairDecoder {
  readonly #known = new Map<string, KeyValue>();

  pair(message: Message): KeyValue {
    const pair: KeyValue = {
      key: (message.key as Buffer).toString('latin1'),
      value: (message.value as Buffer).toString('latin1'),
      createRevision: Number(message.create_revision),
      modRevision: Number(message.mod_revision),
      version: Number(message.version),
      lease: message.lease as bigint,
    };
    const id = `${pair.modRevision} ${pair.createRevision} ${pair.version} ${pair.lease} ${pair.key}`;
    const known = this.#known.get(id);
    if (known === undefined) this.#known.set(id, pair);
    return known?.value === pair.value ? known : pair;
  }

  pairs(messages: unknown): KeyValue[] {
    return (messages as readonly Message[]).map(message => this.pair(message));
  }

  response(bytes: Uint8Array, compactionAsked: number): WatchResponse {
    const message = decodeMessage('WatchResponse', bytes);
    if (message.unknown !== undefined) throw new Error(`unknown fields in a watch response: ${message.unknown}`);
    return {
      watchId: Number(message.watch_id),
      revision: Number((message.header as Message | undefined)?.revision ?? 0n),
      created: message.created as boolean,
      canceled: message.canceled as boolean,
      compactRevision: Number(message.compact_revision),
      cancelReason: message.cancel_reason as string,
      fragment: message.fragment as boolean,
      events: (message.events as readonly Message[]).map(event => this.#event(event)),
      compactionAsked,
    };
  }

  #event(message: Message): WatchEvent {
    const prevKv = message.prev_kv as Message | undefined;
    return {
      type: message.type === 0 ? 'put' : 'delete',
      kv: this.pair(message.kv as Message),
      prevKv: prevKv === undefined ? undefined : this.pair(prevKv),
    };
  }
}
