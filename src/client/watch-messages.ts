/**
 * The messages of a watch stream, in the user's terms.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { EtcdErrorCode, GrpcCode } from '../wire/errors.js';
import { readKeyValue } from '../wire/kv.js';
import { ProtoReader, ProtoWriter } from '../wire/proto.js';
import { encode } from '../wire/schema.js';
import { EtcdError } from './channel.js';
import { CompactedError, tableError } from './errors.js';
import { boundsOf, type Range } from './ranges.js';
import { KeyValue, noHeader, type ResponseHeader, readHeader, readKv } from './results.js';

/** One change of one key. */
export interface WatchEvent {
  readonly type: 'put' | 'delete';
  /** The key with its new value; of a delete only key and modRevision mean something. */
  readonly kv: KeyValue;
  /** What was there before; only when asked for with `previous`, when there was something, and when it is not compacted. */
  readonly previous: KeyValue | undefined;
  /** The revision of the change. */
  readonly revision: number;
  /** Whether the key did not exist before. */
  readonly isCreate: boolean;
}

/** What a watcher is created with. */
export interface WatchSettings {
  /** Deliver changes from this revision on, also past ones; default: those after the watch was created. */
  readonly startRevision?: number;
  /** Deliver what was there before the change. */
  readonly previous?: boolean;
  /** Leave out one kind of change. */
  readonly filter?: 'noPut' | 'noDelete';
  /** Have the server tell now and then, without events, up to which revision everything was delivered. */
  readonly progressNotify?: boolean;
  /** Let the server cut large responses; they are put together again here, one revision is never torn. */
  readonly fragment?: boolean;
}

/** One message from the server. */
export interface WatchResponse {
  readonly header: ResponseHeader;
  readonly watchId: number;
  readonly isCreated: boolean;
  readonly isCanceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** More of the same revision follows. */
  readonly isFragment: boolean;
  readonly events: WatchEvent[];
}

const emptyKv = new KeyValue(readKeyValue(new ProtoReader(EMPTY_BYTES)));
const filters = { noPut: 0, noDelete: 1 } as const;
const writer = new ProtoWriter(4_096);

/** Encodes the request for a watcher; the bytes are valid until the next call. */
export function encodeWatchCreate(range: Range, settings: WatchSettings, startRevision: number): Uint8Array {
  const { key, rangeEnd } = boundsOf(range);
  const create = writer.reset().open(1);
  writer.bytesField(1, key);
  writer.bytesField(2, rangeEnd);
  writer.int64Field(3, startRevision);
  writer.boolField(4, settings.progressNotify ?? false);
  if (settings.filter !== undefined) writer.messageField(5, Uint8Array.of(filters[settings.filter]));
  writer.boolField(6, settings.previous ?? false);
  writer.boolField(8, settings.fragment ?? false);
  writer.close(create);
  return writer.finish();
}

export function encodeProgressRequest(): Uint8Array {
  return encode('etcdserverpb.WatchRequest', { progress_request: {} });
}

/** Decodes one message; keys and values are views of it. */
export function decodeWatchResponse(bytes: Uint8Array): WatchResponse {
  const reader = new ProtoReader(bytes);
  let header = noHeader;
  let watchId = 0;
  let isCreated = false;
  let isCanceled = false;
  let compactRevision = 0;
  let cancelReason = '';
  let isFragment = false;
  const events: WatchEvent[] = [];
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x0a) header = readHeader(reader);
    else if (tag === 0x10) watchId = reader.int64();
    else if (tag === 0x18) isCreated = reader.bool();
    else if (tag === 0x20) isCanceled = reader.bool();
    else if (tag === 0x28) compactRevision = reader.int64();
    else if (tag === 0x32) cancelReason = reader.string();
    else if (tag === 0x38) isFragment = reader.bool();
    else if (tag === 0x5a) events.push(readEvent(reader));
    else reader.skip(tag);
  }
  return { header, watchId, isCreated, isCanceled, compactRevision, cancelReason, isFragment, events };
}

/** Why the server ended a watcher. */
export function cancelError({ compactRevision, cancelReason }: WatchResponse): EtcdError {
  if (compactRevision !== 0) return new CompactedError(compactRevision);
  if (cancelReason === '') return tableError(EtcdErrorCode.FutureRev);
  const compacted = tableError(EtcdErrorCode.Compacted);
  if (cancelReason === compacted.message) return compacted;
  // A status that the server wrote out as text.
  const [, name = '', text] = /^rpc error: code = (\w+) desc = (.*)$/s.exec(cancelReason) ?? [];
  const code = (GrpcCode as Readonly<Record<string, number>>)[name];
  return new EtcdError(code ?? GrpcCode.Unknown, text ?? cancelReason);
}

function readEvent(reader: ProtoReader): WatchEvent {
  const outer = reader.enter();
  let isDelete = false;
  let kv: KeyValue | undefined;
  let previous: KeyValue | undefined;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) isDelete = reader.int32() === 1;
    else if (tag === 0x12) kv = readKv(reader);
    else if (tag === 0x1a) previous = readKv(reader);
    else reader.skip(tag);
  }
  reader.leave(outer);
  kv ??= emptyKv;
  const isCreate = !isDelete && kv.createRevision === kv.modRevision;
  return { type: isDelete ? 'delete' : 'put', kv, previous, revision: kv.modRevision, isCreate };
}
