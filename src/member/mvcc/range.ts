/**
 * Range: which keys, at which revision, in which order (semantics of etcd's RangeRequest).
 *
 *   candidates in key order ─> filters ─> sort ─> limit sets `more` ─> keys_only
 *
 * `count` is taken before all of that. Without sort order and filters the candidates are limited to limit + 1 at once;
 * a sort target without an order sorts only those, as etcd does.
 */
import { compareBytes } from '../../base/bytes.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import {
  decodeKeyValue,
  type KeyValue,
  keyValueWithoutValue,
  type RangeRequest,
  type RangeResult,
  SortOrder,
  SortTarget,
} from '../../wire/kv.js';
import type { ProtoWriter } from '../../wire/proto.js';
import type { RangeEnd, Selection } from './key-index.js';
import type { Mvcc } from './mvcc.js';
import { copyRecord } from './record.js';

/** The end of a range as requests give it: empty means the single key, one zero byte no upper bound. */
export function rangeEndOf(rangeEnd: Uint8Array): RangeEnd {
  if (rangeEnd.length === 0) return undefined;
  return rangeEnd.length === 1 && rangeEnd[0] === 0 ? null : rangeEnd;
}

/** Why a range cannot be read at `revision` (<= 0: newest); undefined when it can. */
export function revisionError(mvcc: Mvcc, revision: number): EtcdErrorCode | undefined {
  if (revision > mvcc.readRevision) return EtcdErrorCode.FutureRev;
  if (revision > 0 && revision < mvcc.compactRevision) return EtcdErrorCode.Compacted;
  return undefined;
}

/** Executes a range whose revision is readable. The result's records are copies. */
export function executeRange(mvcc: Mvcc, request: RangeRequest): RangeResult {
  mvcc.countRange();
  const to = rangeEndOf(request.rangeEnd);
  const atMain = readMain(mvcc, request);
  if (request.countOnly) {
    return { kvs: [], more: false, count: mvcc.index.count(request.key, to, atMain) };
  }
  const selection = select(mvcc, request, to, atMain);
  const count = countOf(mvcc, request, to, atMain, selection);
  let kvs = selection.mains.map((main, at) => copyRecord(mvcc.record(main, selection.subs[at]!)));
  if (isArranged(request)) kvs = arrange(request, kvs);
  const more = request.limit > 0 && kvs.length > request.limit;
  if (more) kvs.length = request.limit;
  if (request.keysOnly) kvs = kvs.map(keyValueWithoutValue);
  return { kvs, more, count };
}

/**
 * The same, written as the body of a RangeResponse straight from the store: no record is copied on the way unless the
 * request sorts or filters.
 */
export function writeRange(mvcc: Mvcc, request: RangeRequest, writer: ProtoWriter): void {
  if (isArranged(request) || request.countOnly) {
    const { kvs, more, count } = executeRange(mvcc, request);
    for (const kv of kvs) writer.messageField(2, kv);
    writeEnd(writer, more, count);
    return;
  }
  mvcc.countRange();
  const to = rangeEndOf(request.rangeEnd);
  const atMain = readMain(mvcc, request);
  const selection = select(mvcc, request, to, atMain);
  const { mains, subs } = selection;
  const more = request.limit > 0 && mains.length > request.limit;
  const shown = more ? request.limit : mains.length;
  for (let at = 0; at < shown; at += 1) {
    const record = mvcc.record(mains[at]!, subs[at]!);
    writer.messageField(2, request.keysOnly ? keyValueWithoutValue(record) : record);
  }
  writeEnd(writer, more, countOf(mvcc, request, to, atMain, selection));
}

function readMain(mvcc: Mvcc, request: RangeRequest): number {
  return request.revision > 0 ? request.revision : mvcc.readRevision;
}

function select(mvcc: Mvcc, request: RangeRequest, to: RangeEnd, atMain: number): Selection {
  return mvcc.index.select(request.key, to, atMain, isLimited(request) ? request.limit + 1 : 0);
}

function countOf(mvcc: Mvcc, request: RangeRequest, to: RangeEnd, atMain: number, selection: Selection): number {
  const found = selection.mains.length;
  const cut = isLimited(request) && found > request.limit;
  return cut ? mvcc.index.count(request.key, to, atMain) : found;
}

/** Whether the limit applies to the candidates already: they need no other order, or none was asked for. */
function isLimited(request: RangeRequest): boolean {
  const { limit, sortOrder, sortTarget } = request;
  const asFound = sortOrder === SortOrder.None || (sortOrder === SortOrder.Ascend && sortTarget === SortTarget.Key);
  return limit > 0 && asFound && !isFiltered(request);
}

function isFiltered(request: RangeRequest): boolean {
  return (
    request.minModRevision !== 0 ||
    request.maxModRevision !== 0 ||
    request.minCreateRevision !== 0 ||
    request.maxCreateRevision !== 0
  );
}

function isArranged(request: RangeRequest): boolean {
  const { sortOrder, sortTarget } = request;
  return isFiltered(request) || sortTarget !== SortTarget.Key || sortOrder === SortOrder.Descend;
}

/** Filters and sorts. Equal sort keys stay in key order; etcd leaves theirs open. */
function arrange(request: RangeRequest, records: readonly Uint8Array[]): Uint8Array[] {
  const candidates = records.map(record => ({ record, kv: decodeKeyValue(record) }));
  const kept = candidates.filter(({ kv }) => passes(request, kv));
  const compare = comparison(request.sortTarget);
  if (request.sortOrder === SortOrder.Descend) kept.sort((left, right) => compare(right.kv, left.kv));
  else kept.sort((left, right) => compare(left.kv, right.kv));
  return kept.map(({ record }) => record);
}

function passes(request: RangeRequest, kv: KeyValue): boolean {
  const { maxModRevision, minModRevision, maxCreateRevision, minCreateRevision } = request;
  if (maxModRevision !== 0 && kv.modRevision > maxModRevision) return false;
  if (minModRevision !== 0 && kv.modRevision < minModRevision) return false;
  if (maxCreateRevision !== 0 && kv.createRevision > maxCreateRevision) return false;
  return minCreateRevision === 0 || kv.createRevision >= minCreateRevision;
}

function comparison(target: number): (left: KeyValue, right: KeyValue) => number {
  if (target === SortTarget.Version) return (left, right) => left.version - right.version;
  if (target === SortTarget.Create) return (left, right) => left.createRevision - right.createRevision;
  if (target === SortTarget.Mod) return (left, right) => left.modRevision - right.modRevision;
  if (target === SortTarget.Value) return (left, right) => compareBytes(left.value, right.value);
  return (left, right) => compareBytes(left.key, right.key);
}

function writeEnd(writer: ProtoWriter, more: boolean, count: number): void {
  writer.boolField(3, more);
  writer.int64Field(4, count);
}
