/**
 * Protobuf messages as JSON and back, by the schema's tables: the mapping of etcd 3.6's gateway.
 *
 *     out: proto names, int64 and uint64 as strings, bytes as base64, enums by name, zero values left out
 *     in:  proto or lowerCamelCase names, integers as numbers or strings, base64 of either alphabet with or without its
 *          padding, enums by name or number; unknown fields and unknown enum names are ignored, null is absent
 *
 * A field given twice, two members of a oneof, a wrong type and bad syntax throw JsonError.
 */
import { concatBytes, utf8Decode } from '../../base/bytes.js';
import { ProtoReader, WireType } from '../../wire/proto.js';
import {
  decode,
  encode,
  enums,
  type FieldTable,
  type MessageInput,
  type MessageName,
  type MessageTable,
  messageTable,
} from '../../wire/schema.js';
import { type IntegerKind, readInteger } from './json-integer.js';
import { JsonError, JsonReader } from './json-reader.js';

type Value = Uint8Array | string | boolean | bigint | number | Fields | Value[];
interface Fields {
  [name: string]: Value | undefined;
}

/** One message as a JSON object. `bytes` may lie in shared memory. */
export function messageToJson(name: string, bytes: Uint8Array): string {
  return objectText(messageTable(name), decode(name as MessageName, bytes) as Fields);
}

/**
 * The same text in pieces of about `pieceChars`, each made when it is asked for: a list of a million keys takes seconds.
 * Only a list of messages that the message itself has is taken apart (a range's keys); `bytes` must stay as they are.
 */
export function* messageToJsonPieces(name: string, bytes: Uint8Array): Generator<string> {
  const table = messageTable(name);
  const list = listIn(table, bytes);
  if (list === undefined) {
    yield messageToJson(name, bytes);
    return;
  }
  const { field, start, end } = list;
  const rest = decode(name as MessageName, concatBytes(bytes.subarray(0, start), bytes.subarray(end))) as Fields;
  const before = membersText({ fields: table.fields.filter(({ number }) => number < field.number) }, rest);
  const after = membersText({ fields: table.fields.filter(({ number }) => number > field.number) }, rest);
  let piece = `{${before}${before === '' ? '' : ','}"${field.name}":[`;
  const reader = new ProtoReader(bytes, start, end);
  for (let first = true; reader.more(); first = false) {
    reader.tag();
    const element = decode(field.typeName as MessageName, reader.bytes()) as Fields;
    piece += `${first ? '' : ','}${objectText(messageTable(field.typeName), element)}`;
    if (piece.length < pieceChars) continue;
    yield piece;
    piece = '';
  }
  yield `${piece}]${after === '' ? '' : ','}${after}}`;
}

/** What may be made at once: a millisecond or a few. */
const pieceChars = 64 * 1024;

/** Where a message has a list of messages, if it has one and all of it stands together. */
function listIn(table: MessageTable, bytes: Uint8Array) {
  const reader = new ProtoReader(bytes);
  let found: { field: FieldTable; start: number; end: number } | undefined;
  while (reader.more()) {
    const start = reader.offset;
    const tag = reader.tag();
    reader.skip(tag);
    const field = table.byNumber.get(tag >>> 3);
    if (field?.label !== 'repeated' || field.kind !== 'message') continue;
    if ((tag & 7) !== WireType.Bytes) return undefined;
    if (found === undefined) found = { field, start, end: reader.offset };
    else if (found.field === field && found.end === start) found.end = reader.offset;
    else return undefined;
  }
  return found;
}

/** The message that a JSON object (UTF-8) stands for. Throws JsonError. */
export function messageFromJson(name: string, json: Uint8Array): Uint8Array {
  const text = utf8Decode(json);
  if (text === undefined) throw new JsonError('proto: syntax error (line 1:1): invalid UTF-8 in string');
  const reader = new JsonReader(text);
  const fields = readObject(reader, messageTable(name));
  reader.finish();
  return encode(name as MessageName, fields as MessageInput<MessageName>);
}

// Out. ----------------------------------------------------------------------------------------------------------------

function objectText(table: MessageTable, fields: Fields): string {
  return `{${membersText(table, fields)}}`;
}

function membersText(table: Pick<MessageTable, 'fields'>, fields: Fields): string {
  let text = '';
  for (const field of table.fields) {
    const value = fields[field.name];
    if (value === undefined || (field.label !== 'oneof' && isZero(value))) continue;
    text += `${text === '' ? '' : ','}"${field.name}":${valueText(field, value)}`;
  }
  return text;
}

function isZero(value: Value): boolean {
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return value === 0 || value === 0n || value === '' || value === false;
}

function valueText(field: FieldTable, value: Value): string {
  if (Array.isArray(value)) return `[${value.map(element => valueText(field, element)).join(',')}]`;
  if (typeof value === 'bigint') return `"${value}"`;
  if (value instanceof Uint8Array) {
    return `"${Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64')}"`;
  }
  if (typeof value === 'object') return objectText(messageTable(field.typeName), value);
  if (field.kind !== 'enum') return JSON.stringify(value);
  const name = enumOf(field.typeName).names.get(value as number);
  return name === undefined ? String(value) : `"${name}"`;
}

// In. -----------------------------------------------------------------------------------------------------------------

function readObject(reader: JsonReader, table: MessageTable): Fields {
  const fields: Fields = {};
  let seen: FieldTable[] | undefined;
  reader.open('{');
  for (let key = reader.key(); key !== undefined; key = reader.key()) {
    const field = fieldsByName(table).get(key);
    if (field === undefined) {
      reader.skip();
      continue;
    }
    if (seen?.includes(field)) throw reader.flaw(`duplicate field ${JSON.stringify(key)}`);
    seen ??= [];
    if (reader.peek() === 'n') {
      seen.push(field);
      reader.word();
      continue;
    }
    if (field.oneof !== '' && table.fields.some(other => other.oneof === field.oneof && other.name in fields)) {
      throw reader.flaw(`error parsing ${JSON.stringify(key)}, oneof ${table.name}.${field.oneof} is already set`);
    }
    seen.push(field);
    const value = isList(field) ? readList(reader, field) : readValue(reader, field);
    if (value !== undefined) fields[field.name] = value;
  }
  return fields;
}

function isList(field: FieldTable): boolean {
  return field.label === 'repeated' || field.label === 'packed';
}

function readList(reader: JsonReader, field: FieldTable): Value[] {
  const list: Value[] = [];
  reader.open('[');
  while (reader.element()) {
    const value = readValue(reader, field);
    if (value !== undefined) list.push(value);
  }
  return list;
}

/** Undefined: an enum name that nobody knows. */
function readValue(reader: JsonReader, field: FieldTable): Value | undefined {
  const { kind } = field;
  if (kind === 'message') return readObject(reader, messageTable(field.typeName));
  const json = reader.peek();
  if (kind === 'string' && json === '"') return reader.string();
  if (kind === 'bool' && (json === 't' || json === 'f')) return reader.word() === true;
  if (kind === 'bytes' && json === '"') {
    const bytes = readBase64(reader.string());
    if (bytes !== undefined) return bytes;
    throw invalid(reader, field);
  }
  if (kind === 'enum' && json === '"') return enumOf(field.typeName).numbers.get(reader.string());
  if (kind === 'enum' && json === '0') return integer(reader, field, 'int32', reader.number());
  if (json === '0' && isInteger(kind)) return integer(reader, field, kind, reader.number());
  if (json === '"' && isInteger(kind)) return integer(reader, field, kind, reader.string());
  reader.skip();
  throw invalid(reader, field);
}

function isInteger(kind: string): kind is IntegerKind {
  return kind === 'int64' || kind === 'uint64' || kind === 'int32' || kind === 'uint32';
}

function integer(reader: JsonReader, field: FieldTable, kind: IntegerKind, text: string): bigint | number {
  const value = readInteger(text, kind);
  if (value === undefined) throw invalid(reader, field);
  return kind === 'int64' || kind === 'uint64' ? value : Number(value);
}

function invalid(reader: JsonReader, field: FieldTable): JsonError {
  return reader.flaw(`invalid value for ${field.kind} field ${field.name}: ${reader.source()}`);
}

const standard = 1;
const url = 2;
const lineBreak = 4;
/** ASCII -> which characters of base64 it belongs to; 0: none. */
const base64Classes = new Uint8Array(128);
for (const letter of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789') {
  base64Classes[letter.charCodeAt(0)] = standard | url;
}
for (const letter of '+/') base64Classes[letter.charCodeAt(0)] = standard;
for (const letter of '-_') base64Classes[letter.charCodeAt(0)] = url;
for (const letter of '\r\n') base64Classes[letter.charCodeAt(0)] = lineBreak;

/** Base64 as Go's decoders take it: line breaks anywhere, padding whole or absent, either alphabet but not both. */
function readBase64(text: string): Uint8Array | undefined {
  let alphabets = standard | url;
  let digits = 0;
  let padding = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x3d) {
      padding += 1;
      continue;
    }
    const classes = code < 128 ? (base64Classes[code] as number) : 0;
    if (classes === lineBreak) continue;
    alphabets &= classes;
    if (alphabets === 0 || padding > 0) return undefined;
    digits += 1;
  }
  const isWhole = padding === 0 ? digits % 4 !== 1 : padding <= 2 && (digits + padding) % 4 === 0;
  return isWhole ? Buffer.from(text, 'base64') : undefined;
}

// Names. --------------------------------------------------------------------------------------------------------------

interface EnumNames {
  readonly numbers: ReadonlyMap<string, number>;
  readonly names: ReadonlyMap<number, string>;
}

const enumNames = new Map<string, EnumNames>();
const fieldNames = new WeakMap<MessageTable, ReadonlyMap<string, FieldTable>>();

function enumOf(typeName: string): EnumNames {
  let known = enumNames.get(typeName);
  if (known === undefined) {
    const values = Object.entries(enums[typeName as keyof typeof enums] as Record<string, number>);
    known = { numbers: new Map(values), names: new Map(values.map(([name, number]) => [number, name])) };
    enumNames.set(typeName, known);
  }
  return known;
}

function fieldsByName(table: MessageTable): ReadonlyMap<string, FieldTable> {
  let known = fieldNames.get(table);
  if (known === undefined) {
    known = new Map(
      table.fields.flatMap(field => [[lowerCamelCase(field.name), field] as const, [field.name, field] as const]),
    );
    fieldNames.set(table, known);
  }
  return known;
}

/** range_end -> rangeEnd, dbSize -> dbSize */
function lowerCamelCase(name: string): string {
  return name.replace(/_+(.)/g, (_match, letter: string) => letter.toUpperCase());
}
