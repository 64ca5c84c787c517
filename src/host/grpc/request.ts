/**
 * What gRPC wants to know about a request's head: is it a call, how is it compressed, how long may it take.
 *
 * The answer depends on the head alone, so requests that share a head share the answer (`RequestHead.memo`).
 */

import { GrpcCode } from '../../wire/errors.js';
import type { HeaderSet } from '../http2/hpack/encoder.js';
import type { HeaderField } from '../http2/hpack/field.js';
import type { RequestHead } from '../http2/request-head.js';
import type { Metadata } from './call.js';
import { type CountedMethod, countedMethod } from './counts.js';
import { encodingRefusal, httpRefusal } from './status.js';
import { parseTimeout } from './timeout.js';

/** A call as its head describes it. */
export interface CallHead {
  readonly path: string;
  readonly metadata: Metadata;
  readonly deadlineMs: number | undefined;
  /** The client compresses its messages with gzip, and is answered in kind. */
  readonly gzip: boolean;
  /** How it is counted. */
  readonly counted: CountedMethod;
  readonly clientVersion: string;
}

/** Reads a head. A HeaderSet is the whole response to a request that is no call. */
export function readHead(head: RequestHead): CallHead | HeaderSet {
  head.memo ??= parse(head);
  return head.memo as CallHead | HeaderSet;
}

/** Whether a request does not even claim to be gRPC: it is for somebody else. */
export function isPlain(head: RequestHead): boolean {
  const contentType = head.fields.find(({ name }) => name === 'content-type')?.value ?? '';
  return !contentType.toLowerCase().includes('application/grpc');
}

function parse(head: RequestHead): CallHead | HeaderSet {
  const metadata = new FieldMetadata(head.fields);
  const contentType = metadata.get('content-type') ?? '';
  if (!isGrpc(contentType)) {
    const text = `invalid gRPC request content-type ${JSON.stringify(contentType)}`;
    return httpRefusal(415, GrpcCode.InvalidArgument, text);
  }
  if (head.method !== 'POST') {
    const text = `Received a HEADERS frame with :method ${JSON.stringify(head.method)} which should be POST`;
    return httpRefusal(405, GrpcCode.Internal, text);
  }
  const timeout = metadata.get('grpc-timeout');
  const deadlineMs = timeout === undefined ? undefined : parseTimeout(timeout);
  if (typeof deadlineMs === 'object') {
    return httpRefusal(400, GrpcCode.Internal, `malformed grpc-timeout: ${deadlineMs.error}`);
  }
  const encoding = metadata.get('grpc-encoding') ?? 'identity';
  if (encoding !== 'identity' && encoding !== 'gzip') return encodingRefusal(encoding);
  return {
    ...{ path: head.path, metadata, deadlineMs, gzip: encoding === 'gzip' },
    counted: countedMethod(head.path),
    clientVersion: metadata.get('client-api-version') ?? 'unknown',
  };
}

/** `application/grpc`, alone or followed by `+format` or `;parameters`. */
function isGrpc(contentType: string): boolean {
  const type = contentType.toLowerCase();
  if (!type.startsWith('application/grpc')) return false;
  const next = type.charAt('application/grpc'.length);
  return next === '' || next === '+' || next === ';';
}

/** Metadata over the fields as HPACK decoded them. */
class FieldMetadata implements Metadata {
  memo: unknown = undefined;
  readonly #fields: readonly HeaderField[];

  constructor(fields: readonly HeaderField[]) {
    this.#fields = fields;
  }

  get(name: string): string | undefined {
    for (const field of this.#fields) {
      if (field.name === name) return field.value;
    }
    return undefined;
  }

  getAll(name: string): string[] {
    return this.#fields.filter(field => field.name === name).map(field => field.value);
  }

  getBytes(name: string): Uint8Array | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (!name.endsWith('-bin')) return Buffer.from(value, 'latin1');
    const first = value.split(',', 1)[0]!.replace(/=+$/, '');
    return /^[A-Za-z0-9+/]*$/.test(first) && first.length % 4 !== 1 ? Buffer.from(first, 'base64') : undefined;
  }

  names(): string[] {
    return [...new Set(this.#fields.map(field => field.name))];
  }
}
