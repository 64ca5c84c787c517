/**
 * The data of conf change entries: raftpb.ConfChange (EntryType.ConfChange, the only one etcd writes) and
 * raftpb.ConfChangeV2, in etcd's own proto2 encoding, so that logs mean the same as etcd's.
 *
 *     ConfChange        1 id uint64   2 type enum   3 node_id uint64   4 context bytes
 *     ConfChangeV2      1 transition enum   2 changes repeated ConfChangeSingle   3 context bytes
 *     ConfChangeSingle  1 type enum   2 node_id uint64
 *
 * Numbers are always written, also 0, as 3.5 and 3.6 do; absent ones read as 0, as 3.7 writes them. Unknown fields are
 * skipped. Data that does not parse is a value (undefined), for it may come from a client's bytes.
 */
import {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type Entry,
  EntryType,
  type MemberId,
  type Proposal,
} from './types.js';

/** raftpb.ConfChange. `context` of length 0 is not written. */
export interface ConfChangeV1 {
  readonly id: bigint;
  readonly type: ConfChangeType;
  readonly nodeId: MemberId;
  readonly context: Uint8Array;
}

/** Either kind of conf change entry, decoded: what raft applies, and what is meant for the member. */
export interface DecodedConfChange {
  readonly id: bigint;
  readonly change: ConfChange;
  readonly context: Uint8Array;
}

export function encodeConfChange(change: ConfChangeV1): Uint8Array {
  const bytes: number[] = [];
  writeNumber(bytes, 1, change.id);
  writeNumber(bytes, 2, BigInt(change.type));
  writeNumber(bytes, 3, change.nodeId);
  if (change.context.length > 0) writeBytes(bytes, 4, change.context);
  return Uint8Array.from(bytes);
}

export function encodeConfChangeV2(change: ConfChange, context: Uint8Array = NO_BYTES): Uint8Array {
  const bytes: number[] = [];
  writeNumber(bytes, 1, BigInt(change.transition));
  for (const single of change.changes) {
    const inner: number[] = [];
    writeNumber(inner, 1, BigInt(single.type));
    writeNumber(inner, 2, single.nodeId);
    writeBytes(bytes, 2, Uint8Array.from(inner));
  }
  if (context.length > 0) writeBytes(bytes, 3, context);
  return Uint8Array.from(bytes);
}

/** The change in a conf change entry; undefined when its data is malformed. Asked only of conf change entries. */
export function decodeConfChange(entry: Entry | Proposal): DecodedConfChange | undefined {
  const fields = readFields(entry.data);
  if (fields === undefined) return undefined;
  return entry.type === EntryType.ConfChangeV2 ? toChangeV2(fields) : toChangeV1(fields);
}

interface Field {
  readonly number: number;
  /** A bigint for varints, bytes for length-delimited fields, undefined for fixed ones, which are of no interest. */
  readonly value: bigint | Uint8Array | undefined;
}

const NO_BYTES = new Uint8Array(0);
const UINT64_MAX = (1n << 64n) - 1n;

function toChangeV1(fields: readonly Field[]): DecodedConfChange | undefined {
  let id = 0n;
  let context: Uint8Array = NO_BYTES;
  for (const { number, value } of fields) {
    if (number === 1 && typeof value === 'bigint') id = value;
    if (number === 4 && value instanceof Uint8Array) context = value;
  }
  const single = toSingle(fields, 2, 3);
  if (single === undefined) return undefined;
  return { id, change: { transition: ConfChangeTransition.Auto, changes: [single] }, context };
}

function toChangeV2(fields: readonly Field[]): DecodedConfChange | undefined {
  let transition = 0n;
  let context: Uint8Array = NO_BYTES;
  const changes: ConfChangeSingle[] = [];
  for (const { number, value } of fields) {
    if (number === 1 && typeof value === 'bigint') transition = value;
    if (number === 3 && value instanceof Uint8Array) context = value;
    if (number !== 2 || !(value instanceof Uint8Array)) continue;
    const inner = readFields(value);
    const single = inner && toSingle(inner, 1, 2);
    if (single === undefined) return undefined;
    changes.push(single);
  }
  const known = Object.values(ConfChangeTransition).find(each => each === Number(transition));
  return known === undefined ? undefined : { id: 0n, change: { transition: known, changes }, context };
}

function toSingle(fields: readonly Field[], typeNumber: number, nodeNumber: number): ConfChangeSingle | undefined {
  let type = 0n;
  let nodeId = 0n;
  for (const { number, value } of fields) {
    if (number === typeNumber && typeof value === 'bigint') type = value;
    if (number === nodeNumber && typeof value === 'bigint') nodeId = value;
  }
  const known = Object.values(ConfChangeType).find(each => each === Number(type));
  return known === undefined ? undefined : { type: known, nodeId };
}

function writeNumber(bytes: number[], field: number, value: bigint): void {
  bytes.push(field << 3);
  writeVarint(bytes, value);
}

function writeBytes(bytes: number[], field: number, value: Uint8Array): void {
  bytes.push((field << 3) | 2);
  writeVarint(bytes, BigInt(value.length));
  for (const byte of value) bytes.push(byte);
}

function writeVarint(bytes: number[], value: bigint): void {
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
}

function readFields(bytes: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = readVarint(bytes, at);
    if (tag === undefined || tag.value >> 3n === 0n) return undefined;
    at = tag.end;
    const number = Number(tag.value >> 3n);
    const wireType = Number(tag.value & 7n);
    if (wireType === 0) {
      const varint = readVarint(bytes, at);
      if (varint === undefined) return undefined;
      fields.push({ number, value: varint.value });
      at = varint.end;
      continue;
    }
    const span = readSpan(bytes, at, wireType);
    if (span === undefined || span.end > bytes.length) return undefined;
    fields.push({ number, value: wireType === 2 ? bytes.subarray(span.start, span.end) : undefined });
    at = span.end;
  }
  return fields;
}

/** Where a length-delimited or fixed field's bytes are. */
function readSpan(bytes: Uint8Array, at: number, wireType: number): { start: number; end: number } | undefined {
  if (wireType === 1) return { start: at, end: at + 8 };
  if (wireType === 5) return { start: at, end: at + 4 };
  if (wireType !== 2) return undefined;
  const length = readVarint(bytes, at);
  if (length === undefined || length.value > BigInt(bytes.length)) return undefined;
  return { start: length.end, end: length.end + Number(length.value) };
}

function readVarint(bytes: Uint8Array, at: number): { value: bigint; end: number } | undefined {
  let value = 0n;
  for (let i = 0; i < 10 && at + i < bytes.length; i++) {
    const byte = bytes[at + i]!;
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return value <= UINT64_MAX ? { value, end: at + i + 1 } : undefined;
  }
  return undefined;
}
