/**
 * What the Watch service sends, hand-written: mvccpb.Event and WatchResponse.
 *
 *   Event          [08 type] 12 kv [1a prev_kv]                         type: 0 PUT (left out), 1 DELETE
 *   WatchResponse  0a header [10 watch_id] [18 created] [20 canceled] [28 compact_revision] [32 cancel_reason]
 *                  [38 fragment] 5a event ...
 *
 * An event is encoded once and copied into every response that holds it. A body is a response without its watch_id, so
 * that it can be the same for many watchers; protobuf readers take the id wherever it is put. Requests are not hot:
 * they go through the generic codec.
 */
import type { ResponseHeaderTemplate } from './header.js';
import { ProtoWriter, varintSize } from './proto.js';

/** Why a watcher was refused: a part of the protocol, clients show and compare it. */
export const WatchCancelReason = {
  DuplicateId: 'mvcc: duplicate watch ID provided on the WatchStream',
  EmptyRange: 'mvcc: watcher range is empty',
  NegativeStart: 'etcdserver: mvcc: required revision has been compacted',
} as const;
export type WatchCancelReason = (typeof WatchCancelReason)[keyof typeof WatchCancelReason];

/** The watch_id of what is about no watcher in particular. */
export const INVALID_WATCH_ID = -1n;

const EVENT_TYPE_DELETE = 1;
const NEGATIVE_VARINT_BYTES = 10;
/** As much of a varint as four bytes hold. */
const HALF = 1n << 28n;
const HALF_BYTES = 4;

/** An event of a put: `record` is its marshalled KeyValue. Ends with `finishEvent`. */
export function beginPutEvent(record: Uint8Array): void {
  events.reset().messageField(2, record);
}

/** An event of a deletion. Ends with `finishEvent`. */
export function beginDeleteEvent(key: Uint8Array, modRevision: number): void {
  events.reset().int64Field(1, EVENT_TYPE_DELETE);
  const start = events.open(2);
  events.bytesField(1, key);
  events.int64Field(3, modRevision);
  events.close(start);
}

/** The event begun; `previous` is the key's marshalled KeyValue before. */
export function finishEvent(previous: Uint8Array | undefined): Uint8Array {
  if (previous !== undefined) events.messageField(3, previous);
  return events.finish();
}

/** Bytes that an encoded event takes in a response. */
export function eventSize(event: Uint8Array): number {
  return 1 + varintSize(event.length) + event.length;
}

/** Bytes of the watch_id field that a body gets for one of its watchers. */
export function watchIdSize(watchId: bigint): number {
  if (watchId === 0n) return 0;
  if (watchId < 0n) return 1 + NEGATIVE_VARINT_BYTES;
  // In halves: a number would round the greatest ids up.
  return watchId < HALF ? 1 + varintSize(Number(watchId)) : 1 + HALF_BYTES + varintSize(Number(watchId / HALF));
}

/** What a response says beside its events; all absent: nothing. */
export interface WatchNotice {
  /** Left out in a body for many watchers. */
  readonly watchId?: bigint;
  readonly created?: boolean;
  readonly canceled?: boolean;
  readonly compactRevision?: number;
  /** A WatchCancelReason, or the status of a caller without the right. */
  readonly cancelReason?: string | undefined;
  readonly fragment?: boolean;
}

/** A response, or with no watchId in `notice` a body, with the encoded events [from, to). */
export function encodeWatchResponse(
  header: ResponseHeaderTemplate,
  revision: number,
  raftTerm: number,
  notice: WatchNotice,
  encodedEvents: readonly Uint8Array[] = [],
  from = 0,
  to = encodedEvents.length,
): Uint8Array {
  header.write(responses.reset(), revision, raftTerm);
  responses.bigint64Field(2, notice.watchId ?? 0n);
  responses.boolField(3, notice.created ?? false);
  responses.boolField(4, notice.canceled ?? false);
  responses.int64Field(5, notice.compactRevision ?? 0);
  responses.stringField(6, notice.cancelReason ?? '');
  responses.boolField(7, notice.fragment ?? false);
  for (let at = from; at < to; at += 1) responses.messageField(11, encodedEvents[at]!);
  return responses.finish();
}

/** Events live as long as the turn or the piece of history they belong to, responses until they are copied away. */
const events = new ProtoWriter();
const responses = new ProtoWriter();
