/**
 * The few etcd calls of the crash tests, over the raw gRPC client of test/support.
 *
 * The codec is this file's own: small, fast enough for thousands of writes a second beside the server under test, and
 * independent of the product's. Integers are numbers: nothing here exceeds 2^53. Every call rejects with CallFailed
 * when the server answers with a status, and with a connection error when it does not answer.
 */
import type { GrpcClient } from '../support/grpc-client.js';

export interface Pair {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

export interface RangeOptions {
  readonly rangeEnd?: string;
  readonly revision?: number;
  readonly limit?: number;
  readonly minModRevision?: number;
}

export interface RangeAnswer {
  readonly revision: number;
  readonly pairs: readonly Pair[];
  readonly more: boolean;
}

/** The server answered with a gRPC status other than OK. */
export class CallFailed extends Error {
  readonly status: number;

  constructor(path: string, status: number, text: string) {
    super(`${path}: status ${status}: ${text}`);
    this.status = status;
  }
}

const readDeadlineMs = 10_000;
/** Shorter than a server waits for a proposal that a lost leader took with it: the outcome is unknown either way. */
const writeDeadlineMs = 2_000;

/** A linearizable Range of one key, or of [key, rangeEnd). */
export async function range(client: GrpcClient, key: string, options: RangeOptions = {}): Promise<RangeAnswer> {
  const request = new Writer().text(1, key);
  if (options.rangeEnd !== undefined) request.text(2, options.rangeEnd);
  request.integer(3, options.limit ?? 0).integer(4, options.revision ?? 0);
  request.integer(10, options.minModRevision ?? 0);
  return decodeRange(await unary(client, '/etcdserverpb.KV/Range', request, readDeadlineMs));
}

/** Returns the revision of the write. */
export async function put(client: GrpcClient, key: string, value: Buffer): Promise<number> {
  return headerRevision(await unary(client, '/etcdserverpb.KV/Put', new Writer().text(1, key).bytes(2, value)));
}

/** Returns the revision after the call, and whether the key was there. */
export async function remove(client: GrpcClient, key: string): Promise<{ revision: number; removed: boolean }> {
  const answer = await unary(client, '/etcdserverpb.KV/DeleteRange', new Writer().text(1, key));
  let removed = false;
  readFields(answer, (field, reader, wireType) => {
    if (field === 2) removed = reader.integer() > 0;
    else reader.skip(wireType);
  });
  return { revision: headerRevision(answer), removed };
}

/** Puts if the key's mod_revision is `expected` (0: absent), else reads the key. */
export async function compareAndPut(
  client: GrpcClient,
  key: string,
  expected: number,
  value: Buffer,
): Promise<{ revision: number; succeeded: boolean; current: Pair | undefined }> {
  const compare = new Writer().integer(2, 2).text(3, key).integerAlways(6, expected); // EQUAL, MOD
  const success = new Writer().message(2, new Writer().text(1, key).bytes(2, value));
  const failure = new Writer().message(1, new Writer().text(1, key));
  const request = new Writer().message(1, compare).message(2, success).message(3, failure);
  const answer = await unary(client, '/etcdserverpb.KV/Txn', request);
  let succeeded = false;
  let current: Pair | undefined;
  readFields(answer, (field, reader, wireType) => {
    if (field === 2) succeeded = reader.integer() !== 0;
    else if (field === 3) {
      readFields(reader.bytes(), (inner, operation, innerType) => {
        if (inner === 1) current = decodeRange(operation.bytes()).pairs[0];
        else operation.skip(innerType);
      });
    } else reader.skip(wireType);
  });
  return { revision: headerRevision(answer), succeeded, current };
}

export async function compact(client: GrpcClient, revision: number): Promise<void> {
  await unary(client, '/etcdserverpb.KV/Compact', new Writer().integer(1, revision));
}

/** Writes the answering member's state anew. */
export async function defragment(client: GrpcClient): Promise<void> {
  await unary(client, '/etcdserverpb.Maintenance/Defragment', new Writer(), readDeadlineMs);
}

/** The hash of the answering member's keys as of `revision`. */
export async function hashKv(client: GrpcClient, revision: number): Promise<{ hash: number; compactRevision: number }> {
  const answer = await unary(
    client,
    '/etcdserverpb.Maintenance/HashKV',
    new Writer().integer(1, revision),
    readDeadlineMs,
  );
  let hash = 0;
  let compactRevision = 0;
  readFields(answer, (field, reader, wireType) => {
    if (field === 2) hash = reader.integer();
    else if (field === 3) compactRevision = reader.integer();
    else reader.skip(wireType);
  });
  return { hash, compactRevision };
}

async function unary(client: GrpcClient, path: string, request: Writer, deadlineMs = writeDeadlineMs): Promise<Buffer> {
  const result = await client.unary(path, request.finish(), { deadlineMs });
  const [message] = result.messages;
  if (result.grpcStatus !== 0 || message === undefined) {
    throw new CallFailed(path, result.grpcStatus, result.grpcMessage);
  }
  return message;
}

function decodeRange(answer: Buffer): RangeAnswer {
  const pairs: Pair[] = [];
  let more = false;
  readFields(answer, (field, reader, wireType) => {
    if (field === 2) pairs.push(decodePair(reader.bytes()));
    else if (field === 3) more = reader.integer() !== 0;
    else reader.skip(wireType);
  });
  return { revision: headerRevision(answer), pairs, more };
}

function decodePair(bytes: Buffer): Pair {
  let key = '';
  let value: Buffer = Buffer.alloc(0);
  const numbers = [0, 0, 0, 0, 0];
  readFields(bytes, (field, reader, wireType) => {
    if (field === 1) key = reader.bytes().toString('latin1');
    else if (field === 5) value = reader.bytes();
    else if (field >= 2 && field <= 4) numbers[field] = reader.integer();
    else reader.skip(wireType);
  });
  return { key, value, createRevision: numbers[2]!, modRevision: numbers[3]!, version: numbers[4]! };
}

function headerRevision(answer: Buffer): number {
  let revision = 0;
  readFields(answer, (field, reader, wireType) => {
    if (field !== 1) return reader.skip(wireType);
    readFields(reader.bytes(), (inner, header, innerType) => {
      if (inner === 3) revision = header.integer();
      else header.skip(innerType);
    });
  });
  return revision;
}

/** Protobuf fields, appended; defaults are left out as protobuf does, except by `integerAlways` (oneof members). */
class Writer {
  readonly #parts: Buffer[] = [];

  integer(field: number, value: number): this {
    return value === 0 ? this : this.integerAlways(field, value);
  }

  integerAlways(field: number, value: number): this {
    this.#parts.push(Buffer.from([...varint(field * 8), ...varint(value)]));
    return this;
  }

  bytes(field: number, value: Buffer): this {
    this.#parts.push(Buffer.from([...varint(field * 8 + 2), ...varint(value.length)]), value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value, 'latin1'));
  }

  message(field: number, value: Writer): this {
    return this.bytes(field, value.finish());
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return bytes;
}

function readFields(bytes: Buffer, visit: (field: number, reader: Reader, wireType: number) => void): void {
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = reader.integer();
    visit(Math.floor(tag / 8), reader, tag % 8);
  }
}

class Reader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#position >= this.#bytes.length;
  }

  /** Values above 2^53 (ids) come out inexact: only skipped fields hold such. */
  integer(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.#bytes[this.#position++];
      if (byte === undefined) throw new Error('message ends inside a number');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
  }

  bytes(): Buffer {
    const length = this.integer();
    const start = this.#position;
    this.#position += length;
    if (this.#position > this.#bytes.length) throw new Error('message ends inside a field');
    return this.#bytes.subarray(start, this.#position);
  }

  skip(wireType: number): void {
    if (wireType === 0) this.integer();
    else if (wireType === 2) this.bytes();
    else throw new Error(`unexpected wire type ${wireType}`);
  }
}
