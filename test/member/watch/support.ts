/**
 * A watch hub over a real key space in memory, with a sink that notes what every stream was sent.
 */
import assert from 'node:assert/strict';
import { Prng } from '../../../src/base/prng.js';
import { Background } from '../../../src/member/mvcc/background.js';
import type { RangeEnd } from '../../../src/member/mvcc/key-index.js';
import { Mvcc } from '../../../src/member/mvcc/mvcc.js';
import { WatchHub, type WatchRights } from '../../../src/member/watch/watch-hub.js';
import { messageOverheadBytes } from '../../../src/transport/stream-credit.js';
import { ResponseHeaderTemplate } from '../../../src/wire/header.js';
import { decode, encode, type Message, type MessageInput } from '../../../src/wire/schema.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

export type WatchResponse = Message<'etcdserverpb.WatchResponse'>;
export type CreateRequest = MessageInput<'etcdserverpb.WatchCreateRequest'>;
export type Observer = (streamId: number, response: WatchResponse) => void;

export interface SubjectOptions {
  /** Who may watch what; default: everybody everything. */
  readonly rights?: WatchRights;
  readonly progressNotifyIntervalMs?: number;
  readonly responseBytesMax?: number;
  readonly observe?: Observer;
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
export const bytesOf = (value: string): Buffer => Buffer.from(value, 'latin1');
/** range_end of everything from a key on. */
export const fromKey = bytesOf('\0');

export class WatchSubject {
  store = new MemoryStateStore();
  mvcc = new Mvcc(this.store);
  background = new Background(this.mvcc);
  readonly hub: WatchHub;
  nowMs = 1_000;
  /** Bytes that streams were sent and have not given back. */
  readonly outstanding = new Map<number, number>();
  /** Number of calls of the sink. */
  sent = 0;
  readonly #noted: { readonly streamId: number; readonly response: WatchResponse }[] = [];
  readonly #observe: Observer | undefined;

  constructor(options: SubjectOptions = {}) {
    this.#observe = options.observe;
    this.hub = new WatchHub(this.mvcc, {
      header: new ResponseHeaderTemplate(0xc1n, 0xa1n),
      raftTerm: () => 7,
      rights: options.rights ?? { refuseWatch: () => undefined, refuseWatcher: () => undefined },
      sink: {
        message: (streamId, response) =>
          this.#note(streamId, decode('etcdserverpb.WatchResponse', response.slice()), response.length),
        fanOut: (streamIds, watchIds, body) => {
          this.sent -= streamIds.length - 1;
          streamIds.forEach((streamId, at) => {
            const response = decode('etcdserverpb.WatchResponse', body.slice());
            assert.equal(response.watch_id, 0n, 'a body has no watch id');
            const watchId = watchIds[at]!;
            const idBytes = encode('etcdserverpb.WatchCancelRequest', { watch_id: watchId }).length;
            this.#note(streamId, { ...response, watch_id: watchId }, body.length + idBytes);
          });
        },
      },
      progressNotifyIntervalMs: options.progressNotifyIntervalMs ?? 600_000,
      responseBytesMax: options.responseBytesMax ?? 2 << 20,
      prng: new Prng(1),
    });
  }

  put(...entries: readonly (readonly [key: string, value: string])[]): number {
    return this.write(() => {
      for (const [key, value] of entries) this.mvcc.put(bytesOf(key), bytesOf(value), 0n);
    });
  }

  remove(from: string, to?: RangeEnd): number {
    return this.write(() => void this.mvcc.deleteRange(bytesOf(from), to));
  }

  /** One revision. */
  write(change: () => void): number {
    this.mvcc.begin();
    change();
    return this.mvcc.end();
  }

  compact(revision: number, settle = true): void {
    assert.equal(this.background.compact(revision), undefined);
    while (settle && this.background.step(3));
  }

  open(...streamIds: readonly number[]): void {
    for (const streamId of streamIds) {
      this.hub.open(streamId);
      this.outstanding.set(streamId, 0);
    }
  }

  create(streamId: number, key: string, request: CreateRequest = {}): void {
    this.#request(streamId, { create_request: { key: bytesOf(key), ...request } });
  }

  cancel(streamId: number, watchId: bigint): void {
    this.#request(streamId, { cancel_request: { watch_id: watchId } });
  }

  progress(streamId: number): void {
    this.#request(streamId, { progress_request: {} });
  }

  /** The client takes everything it was sent, or `bytes` of it. */
  take(streamId: number, bytes = this.outstanding.get(streamId)!): void {
    this.outstanding.set(streamId, this.outstanding.get(streamId)! - bytes);
    this.hub.credit(streamId, bytes);
  }

  /** Steps until nothing more can be done at once; returns the number of steps. */
  settle(recordsMax = 100): number {
    let steps = 1;
    while (this.hub.step(this.nowMs, recordsMax)) steps += 1;
    return steps;
  }

  /** Goes on with another store object that holds the same, and whatever `missed` writes unseen. */
  replace(missed: () => void = () => {}): void {
    this.mvcc.listener = undefined;
    missed();
    this.store.commit();
    this.store = this.store.crash();
    this.mvcc = new Mvcc(this.store);
    this.background = new Background(this.mvcc);
    this.hub.replaceStore(this.mvcc);
  }

  /** What was sent since the last call, a line a response. */
  lines(streamId?: number): string[] {
    const noted = this.#noted.splice(0);
    return noted
      .filter(entry => streamId === undefined || entry.streamId === streamId)
      .map(entry => `${streamId === undefined ? `${entry.streamId}/` : ''}${describe(entry.response)}`);
  }

  #request(streamId: number, request: MessageInput<'etcdserverpb.WatchRequest'>): void {
    const bytes = encode('etcdserverpb.WatchRequest', request);
    const given = bytes.slice();
    this.hub.request(streamId, given, this.nowMs);
    // The hub may not keep views of what it was given.
    given.fill(0xee);
  }

  #note(streamId: number, response: WatchResponse, bytes: number): void {
    this.sent += 1;
    this.outstanding.set(streamId, this.outstanding.get(streamId)! + bytes + messageOverheadBytes);
    const { header } = response;
    assert.deepEqual([header?.cluster_id, header?.member_id, header?.raft_term], [0xc1n, 0xa1n, 7n]);
    if (this.#observe !== undefined) this.#observe(streamId, response);
    else this.#noted.push({ streamId, response });
  }
}

/** `0@5 created`, `0@7 a=x b=y(was z) -c`, `-1@9`, `0@0 canceled compact=5`. */
export function describe(response: WatchResponse): string {
  const words = [`${response.watch_id}@${response.header?.revision}`];
  if (response.created) words.push('created');
  if (response.canceled) words.push('canceled');
  if (response.compact_revision !== 0n) words.push(`compact=${response.compact_revision}`);
  if (response.cancel_reason !== '') words.push(response.cancel_reason);
  for (const { type, kv, prev_kv } of response.events) {
    const key = text(kv!.key);
    const was = prev_kv === undefined ? '' : `(was ${text(prev_kv.value)})`;
    words.push(
      type === 1 ? `-${key}:${kv!.mod_revision}${was}` : `${key}=${text(kv!.value)}:${kv!.mod_revision}${was}`,
    );
  }
  if (response.fragment) words.push('fragment');
  return words.join(' ');
}
