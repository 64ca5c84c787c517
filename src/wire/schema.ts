/**
 * The generic codec: encodes and decodes any message of etcd's API and log by name.
 *
 * For everything that is not hot. schema/messages.ts has the table; a message's part of it is
 * compiled on first use. Decoding follows etcd's Go code: unknown
 * fields are skipped, the last of repeated singular scalars wins, an embedded message given twice is merged, a oneof
 * keeps its last member (and that one unmerged), scalars may be packed or not. Malformed input throws ProtoError.
 */
import { assert } from '../base/assert.js';
import { EMPTY_BYTES, utf8Encode } from '../base/bytes.js';
import { ProtoReader, ProtoWriter, WireType } from './proto.js';
import { type FieldSpec, type Message, type MessageInput, type MessageName, schema } from './schema/messages.js';

export { enums, type Message, type MessageInput, type MessageName } from './schema/messages.js';

export type Scalar = 'bytes' | 'string' | 'bool' | 'int64' | 'uint64' | 'int32' | 'uint32' | 'enum';

/** One field, as the JSON gateway wants to see it too. */
export interface FieldTable {
  readonly number: number;
  readonly name: string;
  /** Scalar kind, or 'message'. */
  readonly kind: Scalar | 'message';
  /** Of a message or enum: its name in the schema. */
  readonly typeName: string;
  readonly label: 'none' | 'repeated' | 'packed' | 'always' | 'optional' | 'oneof';
  /** The oneof's name, or ''. */
  readonly oneof: string;
}

export interface MessageTable {
  readonly name: string;
  /** Ascending by number. */
  readonly fields: readonly FieldTable[];
  readonly byNumber: ReadonlyMap<number, FieldTable>;
  /** Index = field number: the Go name, for error texts. */
  readonly goNames: readonly string[];
}

type Value = Uint8Array | string | boolean | bigint | number | Fields | Value[];
interface Fields {
  [name: string]: Value | undefined;
}

const SCALARS = new Set<string>(['bytes', 'string', 'bool', 'int64', 'uint64', 'int32', 'uint32']);
const tables = new Map<string, MessageTable>();

export function isMessageName(name: string): name is MessageName {
  return Object.hasOwn(schema, name);
}

export function encode<Name extends MessageName>(name: Name, message: MessageInput<Name>): Uint8Array {
  writeFields(scratch.reset(), messageTable(name), message as Fields);
  return scratch.finish();
}

/** Decodes bytes[start, end). Byte fields are views of `bytes`. */
export function decode<Name extends MessageName>(
  name: Name,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): Message<Name> {
  const table = messageTable(name);
  const fields = emptyMessage(table);
  readFields(new ProtoReader(bytes, start, end), table, fields);
  return fields as Message<Name>;
}

/** The compiled table of a message that the schema knows. */
export function messageTable(name: string): MessageTable {
  let table = tables.get(name);
  if (table === undefined) {
    assert(isMessageName(name), 'no such message in the schema', { name });
    table = compile(name, schema[name] as Record<string, FieldSpec>);
    tables.set(name, table);
  }
  return table;
}

function compile(name: string, specs: Record<string, FieldSpec>): MessageTable {
  const fields = Object.entries(specs).map(([fieldName, spec]) => compileField(fieldName, spec));
  fields.sort((left, right) => left.number - right.number);
  const goNames: string[] = [];
  for (const field of fields) goNames[field.number] = goName(field.name);
  return { name, fields, byNumber: new Map(fields.map(field => [field.number, field])), goNames };
}

function compileField(name: string, [number, typeName, spelled = 'none']: FieldSpec): FieldTable {
  const kind = SCALARS.has(typeName) ? (typeName as Scalar) : isMessageName(typeName) ? 'message' : 'enum';
  const oneof = spelled.startsWith('oneof ') ? spelled.slice('oneof '.length) : '';
  const label = oneof === '' ? (spelled as FieldTable['label']) : 'oneof';
  return { number, name, kind, typeName, label, oneof };
}

/** range_end -> RangeEnd, dbSize -> DbSize */
function goName(name: string): string {
  return name
    .replace(/(^|_)([a-z])/g, (_match, _separator, letter: string) => letter.toUpperCase())
    .replaceAll('_', '');
}

function emptyMessage(table: MessageTable): Fields {
  const fields: Fields = {};
  for (const field of table.fields) {
    if (field.label === 'repeated' || field.label === 'packed') fields[field.name] = [];
    else if (field.label === 'optional' || field.label === 'oneof') continue;
    else if (field.kind !== 'message') fields[field.name] = zeroOf(field.kind);
    else if (field.label === 'always') fields[field.name] = emptyMessage(messageTable(field.typeName));
  }
  return fields;
}

function zeroOf(kind: Scalar): Value {
  if (kind === 'bytes') return EMPTY_BYTES;
  if (kind === 'string') return '';
  if (kind === 'bool') return false;
  return kind === 'int64' || kind === 'uint64' ? 0n : 0;
}

function readFields(reader: ProtoReader, table: MessageTable, target: Fields): void {
  while (reader.more()) {
    const tag = reader.tag();
    const field = table.byNumber.get(tag >>> 3);
    if (field === undefined) {
      reader.skip(tag);
      continue;
    }
    const isList = field.label === 'repeated' || field.label === 'packed';
    const wireType = wireTypeOf(field.kind);
    if (isList && wireType === WireType.Varint && (tag & 7) === WireType.Bytes) {
      readPacked(reader, field, target[field.name] as Value[]);
    } else if ((tag & 7) !== wireType) {
      reader.skipUnknown(tag, table.goNames);
    } else if (isList) {
      (target[field.name] as Value[]).push(readValue(reader, field, undefined));
    } else {
      const former = field.label === 'oneof' ? undefined : target[field.name];
      const value = readValue(reader, field, former);
      if (field.label === 'oneof') clearOneof(table, field.oneof, target);
      target[field.name] = value;
    }
  }
}

function readPacked(reader: ProtoReader, field: FieldTable, list: Value[]): void {
  const outer = reader.enter();
  while (reader.more()) list.push(readValue(reader, field, undefined));
  reader.leave(outer);
}

/** `former`: the embedded message to merge into. */
function readValue(reader: ProtoReader, field: FieldTable, former: Value | undefined): Value {
  if (field.kind !== 'message') return readScalar(reader, field.kind);
  const table = messageTable(field.typeName);
  const message = (former as Fields | undefined) ?? emptyMessage(table);
  const outer = reader.enter();
  readFields(reader, table, message);
  reader.leave(outer);
  return message;
}

function readScalar(reader: ProtoReader, kind: Scalar): Value {
  if (kind === 'bytes') return reader.bytes();
  if (kind === 'string') return reader.string();
  if (kind === 'bool') return reader.bool();
  if (kind === 'int64') return reader.bigint64();
  if (kind === 'uint64') return reader.uint64();
  return kind === 'uint32' ? reader.uint32() : reader.int32();
}

function clearOneof(table: MessageTable, oneof: string, target: Fields): void {
  for (const field of table.fields) {
    if (field.oneof === oneof) delete target[field.name];
  }
}

function wireTypeOf(kind: FieldTable['kind']): number {
  return kind === 'message' || kind === 'bytes' || kind === 'string' ? WireType.Bytes : WireType.Varint;
}

function writeFields(writer: ProtoWriter, table: MessageTable, source: Fields): void {
  for (const field of table.fields) {
    const value = source[field.name];
    if (field.label === 'repeated') {
      for (const element of (value as Value[] | undefined) ?? []) writeField(writer, field, element);
    } else if (field.label === 'packed') {
      writePacked(writer, field, (value as Value[] | undefined) ?? []);
    } else if (field.label === 'always') {
      writeField(writer, field, value ?? (field.kind === 'message' ? {} : zeroOf(field.kind)));
    } else if (value !== undefined && (field.label !== 'none' || !isZero(value))) {
      writeField(writer, field, value);
    }
  }
}

function writePacked(writer: ProtoWriter, field: FieldTable, values: readonly Value[]): void {
  if (values.length === 0) return;
  const start = writer.open(field.number);
  for (const value of values) writeVarint(writer, value);
  writer.close(start);
}

function writeField(writer: ProtoWriter, field: FieldTable, value: Value): void {
  if (field.kind === 'message') {
    const start = writer.open(field.number);
    writeFields(writer, messageTable(field.typeName), value as Fields);
    writer.close(start);
  } else if (field.kind === 'bytes') {
    writer.messageField(field.number, value as Uint8Array);
  } else if (field.kind === 'string') {
    writer.messageField(field.number, utf8Encode(value as string));
  } else {
    writer.tag(field.number, WireType.Varint);
    writeVarint(writer, value);
  }
}

function writeVarint(writer: ProtoWriter, value: Value): void {
  if (typeof value === 'bigint') writer.bigint64(value);
  else if (typeof value === 'number') writer.int64(value);
  else writer.byte(value === true ? 1 : 0);
}

/** Whether proto3 leaves the value out. An embedded message is never zero: present and empty is not absent. */
function isZero(value: Value): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === 0 || value === 0n || value === '' || value === false;
}

const scratch = new ProtoWriter();
