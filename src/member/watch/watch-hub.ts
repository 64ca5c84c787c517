/**
 * The watch engine of one member: a pure core between its key space and the streams of its clients.
 *
 *   request ──> created, cancelled, progress answers
 *   changes of the turn ──> deliver() ──> Live: synced watchers, one body for all with the same interest
 *   step() ──> CatchUp: watchers behind, from the store;  ProgressTimers: who is to be told that nothing happened
 *
 * What a watcher may rely on (W1-W12): its events come in order, each once, none missing, whole revisions at a time; a
 * progress response with revision r comes after every event at or below r; nothing comes after its end. A client that
 * does not read costs its stream's credit, and the store's history does the rest.
 *
 * Whatever is asked, the changes made before it are delivered first: an answer with revision r is then true at r.
 */
import { compareBytes, EMPTY_BYTES } from '../../base/bytes.js';
import type { Prng } from '../../base/prng.js';
import { streamCreditBytes } from '../../transport/stream-credit.js';
import { decode, type Message } from '../../wire/schema.js';
import { INVALID_WATCH_ID, WatchCancelReason } from '../../wire/watch.js';
import type { RangeEnd } from '../mvcc/key-index.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import { rangeEndOf } from '../mvcc/range.js';
import { CatchUp } from './catch-up.js';
import { Live } from './live.js';
import { Outlet, type OutletOptions } from './outlet.js';
import { ProgressTimers } from './progress-timers.js';
import { Stream, Watcher, WatcherState } from './watcher.js';
import { Watchers } from './watchers.js';

export type { WatchSink } from './outlet.js';

/** What the clients of streams may see. */
export interface WatchRights {
  /** Why a stream's client may not watch a range, as the cancel_reason; an empty `rangeEnd` is the key alone. */
  refuseWatch(streamId: number, key: Uint8Array, rangeEnd: Uint8Array): string | undefined;
  /** The same for a watcher that there is: its client may have lost the right. */
  refuseWatcher(streamId: number, key: Uint8Array, rangeEnd: Uint8Array): string | undefined;
}

export interface WatchOptions extends OutletOptions {
  readonly rights: WatchRights;
  readonly progressNotifyIntervalMs: number;
  readonly prng: Prng;
}

type CreateRequest = Message<'etcdserverpb.WatchCreateRequest'>;

const FILTER_NO_PUT = 0;
const FILTER_NO_DELETE = 1;
/** What an empty key means. */
const FIRST_KEY = new Uint8Array(1);

export class WatchHub {
  readonly #streams = new Map<number, Stream>();
  readonly #watchers = new Watchers();
  readonly #outlet: Outlet;
  readonly #live: Live;
  readonly #catchUp: CatchUp;
  readonly #timers: ProgressTimers;
  readonly #rights: WatchRights;
  #mvcc: Mvcc;

  constructor(mvcc: Mvcc, options: WatchOptions) {
    this.#rights = options.rights;
    this.#outlet = new Outlet(options);
    this.#live = new Live(this.#watchers, this.#outlet);
    this.#catchUp = new CatchUp(this.#watchers, this.#outlet);
    this.#timers = new ProgressTimers(options.progressNotifyIntervalMs, options.prng);
    this.#mvcc = mvcc;
    this.#listen();
  }

  /** Open streams, watchers, those that are behind, and events sent so far. */
  get counts(): {
    readonly streams: number;
    readonly watchers: number;
    readonly behind: number;
    readonly eventsSent: number;
  } {
    const { total: watchers, behind } = this.#watchers;
    return { streams: this.#streams.size, watchers, behind, eventsSent: this.#outlet.eventsSent };
  }

  /** A client opened a stream. */
  open(streamId: number): void {
    this.#streams.set(streamId, new Stream(streamId, streamCreditBytes));
  }

  /** A WatchRequest; throws ProtoError when undecodable. Unknown kinds are ignored. */
  request(streamId: number, bytes: Uint8Array, nowMs: number): void {
    const request = decode('etcdserverpb.WatchRequest', bytes);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.deliver();
    if (request.create_request !== undefined) this.#create(stream, request.create_request, nowMs);
    else if (request.cancel_request !== undefined) this.#cancel(stream, request.cancel_request.watch_id);
    else if (request.progress_request !== undefined) this.#progress(stream);
  }

  /** The client is gone: everything of the stream is forgotten. An unknown id is fine. */
  close(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#streams.delete(streamId);
    this.#timers.remove(stream);
    for (const watcher of stream.watchers.values()) this.#watchers.remove(watcher);
  }

  /** The client has taken so many bytes of the stream. */
  credit(streamId: number, bytes: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.credit = Math.min(stream.credit + bytes, streamCreditBytes);
    this.#watchers.settle(stream);
  }

  /** Users or roles have changed: cancels the watchers of who may not see their keys any more. What came before is sent. */
  rightsChanged(): void {
    this.deliver();
    for (const stream of this.#streams.values()) {
      for (const watcher of [...stream.watchers.values()]) {
        if (watcher.state === WatcherState.Cancelled) continue;
        const { key, to } = watcher.interest;
        const cancelReason = this.#rights.refuseWatcher(stream.id, key, rangeEndBytes(to));
        if (cancelReason !== undefined) this.#end(stream, watcher, cancelReason);
      }
    }
  }

  /** A snapshot replaced the state: every watcher resumes from where it was, never back. */
  replaceStore(mvcc: Mvcc): void {
    const next = this.#live.next;
    for (const stream of this.#streams.values()) {
      for (const watcher of stream.watchers.values()) {
        if (watcher.state !== WatcherState.Synced) continue;
        this.#watchers.fallBehind(watcher, Math.max(watcher.next, next));
      }
    }
    this.#mvcc.listener = undefined;
    this.#mvcc = mvcc;
    this.#live.restart(mvcc.currentRevision);
    this.#catchUp.restart();
    this.#listen();
  }

  /** Sends the events of the entries just applied, before anything that is later. */
  deliver(): void {
    this.#live.deliver(this.#mvcc);
  }

  /** A bounded slice of catching up, and progress notifications that are due; true: more can be done at once. */
  step(nowMs: number, recordsMax: number): boolean {
    this.deliver();
    const moreDue = this.#timers.due(nowMs, this.#notify);
    return this.#catchUp.step(this.#mvcc, recordsMax) || moreDue;
  }

  #listen(): void {
    this.#mvcc.listener = {
      changed: (main, _sub, tombstone, _slot, record) => this.#live.changed(main, tombstone, record),
    };
  }

  #create(stream: Stream, request: CreateRequest, nowMs: number): void {
    const { currentRevision } = this.#mvcc;
    const key = request.key.length === 0 ? FIRST_KEY : request.key;
    const cancelReason = this.#rights.refuseWatch(stream.id, key, request.range_end) ?? refusal(stream, key, request);
    if (cancelReason !== undefined) {
      const watchId = INVALID_WATCH_ID;
      this.#outlet.answer(stream, currentRevision, { watchId, created: true, canceled: true, cancelReason });
      return;
    }
    const watchId = request.watch_id === 0n ? freeWatchId(stream) : request.watch_id;
    const start = Number(request.start_revision);
    const synced = start === 0 || start > currentRevision;
    const next = start === 0 ? currentRevision + 1 : start;
    const interest = this.#watchers.interests.acquire(
      key,
      rangeEndOf(request.range_end),
      request.filters.includes(FILTER_NO_PUT),
      request.filters.includes(FILTER_NO_DELETE),
      request.prev_kv,
    );
    const watcher = new Watcher(stream, watchId, interest, start, next, request.fragment, request.progress_notify);
    stream.startMax = Math.max(stream.startMax, start);
    this.#outlet.answer(stream, currentRevision, { watchId, created: true });
    this.#watchers.add(watcher, synced);
    if (!watcher.progressNotify) return;
    stream.notified += 1;
    if (stream.notified === 1) this.#timers.add(stream, nowMs);
  }

  #cancel(stream: Stream, watchId: bigint): void {
    const watcher = stream.watchers.get(watchId);
    if (watcher !== undefined) this.#end(stream, watcher, undefined);
  }

  #end(stream: Stream, watcher: Watcher, cancelReason: string | undefined): void {
    this.#watchers.remove(watcher);
    const { currentRevision } = this.#mvcc;
    this.#outlet.answer(stream, currentRevision, { watchId: watcher.id, canceled: true, cancelReason });
    if (!watcher.progressNotify) return;
    stream.notified -= 1;
    if (stream.notified === 0) this.#timers.remove(stream);
  }

  /** Answers only when that is true of every watcher; the client asks again. */
  #progress(stream: Stream): void {
    const { currentRevision } = this.#mvcc;
    if (stream.watchers.size === 0 || stream.behind.size > 0 || stream.cancelled > 0) return;
    if (stream.startMax > currentRevision) {
      // Those who began latest may be gone.
      stream.startMax = 0;
      for (const { start } of stream.watchers.values()) stream.startMax = Math.max(stream.startMax, start);
      if (stream.startMax > currentRevision) return;
    }
    this.#outlet.answer(stream, currentRevision, { watchId: INVALID_WATCH_ID });
  }

  /** Tells the stream's quiet watchers how far the store is. */
  readonly #notify = (stream: Stream): void => {
    const { currentRevision } = this.#mvcc;
    const body = this.#outlet.body(currentRevision, [], 0, 0);
    for (const watcher of stream.watchers.values()) {
      if (!watcher.progressNotify) continue;
      const quiet = !watcher.active && watcher.state === WatcherState.Synced && watcher.start <= currentRevision;
      if (quiet) this.#outlet.collect(watcher, body.length);
      watcher.active = false;
    }
    this.#outlet.fanOut(body);
  };
}

/** Why a watcher is not created, if so. */
function refusal(stream: Stream, key: Uint8Array, request: CreateRequest): WatchCancelReason | undefined {
  if (request.start_revision < 0n) return WatchCancelReason.NegativeStart;
  const to = rangeEndOf(request.range_end);
  if (to !== undefined && to !== null && compareBytes(key, to) >= 0) return WatchCancelReason.EmptyRange;
  const taken = request.watch_id !== 0n && stream.watchers.has(request.watch_id);
  return taken ? WatchCancelReason.DuplicateId : undefined;
}

/** A range_end that means what `to` means. */
function rangeEndBytes(to: RangeEnd): Uint8Array {
  if (to === undefined) return EMPTY_BYTES;
  return to ?? FIRST_KEY;
}

/** The next number that is not in use; it never goes back. */
function freeWatchId(stream: Stream): bigint {
  while (stream.watchers.has(stream.nextWatchId)) stream.nextWatchId += 1n;
  stream.nextWatchId += 1n;
  return stream.nextWatchId - 1n;
}
