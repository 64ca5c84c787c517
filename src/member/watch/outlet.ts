/**
 * What leaves for the streams: it writes responses and keeps the account of every stream's credit.
 *
 *   credit of a stream = what it begins with - bytes sent (and an overhead for each message) + bytes its client took
 *
 * While a stream has no credit its watchers get no events, and fall behind in the store instead of in memory (V9).
 * Answers are always sent: a client waits for each of them.
 */
import { messageOverheadBytes } from '../../transport/stream-credit.js';
import type { ResponseHeaderTemplate } from '../../wire/header.js';
import { encodeWatchResponse, eventSize, type WatchNotice, watchIdSize } from '../../wire/watch.js';
import type { Stream, Watcher } from './watcher.js';

/** Where responses go. */
export interface WatchSink {
  /** One whole WatchResponse for one stream. The callee copies the bytes. */
  message(streamId: number, response: Uint8Array): void;
  /** One WatchResponse without watch_id (field 2) for many: streamIds[i] gets it as watchIds[i]. The callee copies all. */
  fanOut(streamIds: readonly number[], watchIds: readonly bigint[], body: Uint8Array): void;
}

export interface OutletOptions {
  readonly header: ResponseHeaderTemplate;
  readonly raftTerm: () => number;
  readonly sink: WatchSink;
  /** A response of this size is cut into fragments for a watcher that asked for it. */
  readonly responseBytesMax: number;
}

/** As etcd: more than that is not put together in one response. */
export const REVISIONS_MAX = 1000;

export class Outlet {
  readonly #options: OutletOptions;
  /** The watchers collected for one body. */
  readonly #streamIds: number[] = [];
  readonly #watchIds: bigint[] = [];
  /** Events sent, counted once for each watcher that got them. */
  eventsSent = 0;
  /** Responses are ended between revisions beyond this size. */
  readonly bytesAimed: number;

  constructor(options: OutletOptions) {
    this.#options = options;
    this.bytesAimed = options.responseBytesMax / 2;
  }

  /** A response without events. */
  answer(stream: Stream, revision: number, notice: WatchNotice): void {
    this.#send(stream, this.#encode(revision, notice));
  }

  /** A body for many watchers: the encoded events [from, to). */
  body(revision: number, events: readonly Uint8Array[], from: number, to: number): Uint8Array {
    return this.#encode(revision, {}, events, from, to);
  }

  /** Adds a watcher to those who get the next body of `bodyBytes`. */
  collect({ stream, id }: Watcher, bodyBytes: number): void {
    this.#streamIds.push(stream.id);
    this.#watchIds.push(id);
    stream.credit -= bodyBytes + watchIdSize(id) + messageOverheadBytes;
  }

  /** Sends the body to all that were collected. */
  fanOut(body: Uint8Array): void {
    if (this.#streamIds.length === 0) return;
    this.#options.sink.fanOut(this.#streamIds, this.#watchIds, body);
    this.#streamIds.length = 0;
    this.#watchIds.length = 0;
  }

  /** The encoded events [from, to) for one watcher, in fragments if they are much and it asked for that. */
  events(watcher: Watcher, revision: number, events: readonly Uint8Array[], from: number, to: number): void {
    const { stream, id: watchId, fragment } = watcher;
    this.eventsSent += to - from;
    const whole = this.#encode(revision, { watchId }, events, from, to);
    if (!fragment || whole.length < this.#options.responseBytesMax || to - from < 2) {
      this.#send(stream, whole);
      return;
    }
    const bareBytes = this.#encode(revision, { watchId, fragment }).length;
    let first = from;
    while (first < to) {
      const end = this.#fragmentEnd(bareBytes, events, first, to);
      this.#send(stream, this.#encode(revision, { watchId, fragment: end < to }, events, first, end));
      first = end;
    }
  }

  /** The end of the fragment that begins at `first`: below the limit, but at least one event. */
  #fragmentEnd(bareBytes: number, events: readonly Uint8Array[], first: number, to: number): number {
    let bytes = bareBytes + eventSize(events[first]!);
    let end = first + 1;
    while (end < to) {
      bytes += eventSize(events[end]!);
      if (bytes >= this.#options.responseBytesMax) break;
      end += 1;
    }
    return end;
  }

  /**
   * The end of the response that begins at `from`: between two revisions, where it becomes large or holds many.
   * mains[i] is the revision of events[i].
   */
  responseEnd(mains: readonly number[], events: readonly Uint8Array[], from: number): number {
    let bytes = 0;
    let revisions = 0;
    let end = from;
    while (end < events.length) {
      if (end === from || mains[end] !== mains[end - 1]) {
        if (revisions === REVISIONS_MAX || bytes >= this.bytesAimed) break;
        if (end > from && bytes + eventSize(events[end]!) > this.bytesAimed) break;
        revisions += 1;
      }
      bytes += eventSize(events[end]!);
      end += 1;
    }
    return end;
  }

  #send(stream: Stream, response: Uint8Array): void {
    stream.credit -= response.length + messageOverheadBytes;
    this.#options.sink.message(stream.id, response);
  }

  #encode(
    revision: number,
    notice: WatchNotice,
    events?: readonly Uint8Array[],
    from?: number,
    to?: number,
  ): Uint8Array {
    const { header, raftTerm } = this.#options;
    return encodeWatchResponse(header, revision, raftTerm(), notice, events, from, to);
  }
}
