/**
 * The header sets that carry a gRPC status (gRPC over HTTP/2, "Responses"); the codes are in wire/errors.ts.
 *
 *     reply:          HEADERS :status content-type | DATA ... | HEADERS grpc-status [grpc-message] END_STREAM
 *     Trailers-Only:  HEADERS :status content-type grpc-status [grpc-message] END_STREAM
 */
import { GrpcCode } from '../../wire/errors.js';
import { HeaderSet } from '../http2/hpack/encoder.js';

/** A status text is cut to this many characters of its source: a header list must stay small. */
const textLengthMax = 2_048;
const contentType = ['content-type', 'application/grpc'] as const;
const indexedNames = ['content-type', 'grpc-status', 'grpc-encoding'];
/** What a client may compress its messages with. */
const acceptEncoding = ['grpc-accept-encoding', 'identity,gzip'] as const;

export const responseHeaders = new HeaderSet([[':status', '200'], contentType], indexedNames, true);
export const responseHeadersGzip = new HeaderSet(
  [[':status', '200'], contentType, ['grpc-encoding', 'gzip']],
  indexedNames,
  true,
);
export const trailersOk = new HeaderSet([['grpc-status', '0']], indexedNames, true);

/** Trailers behind a response that has begun. */
export function trailers(code: number, text: string): HeaderSet {
  return code === GrpcCode.Ok && text === '' ? trailersOk : new HeaderSet(statusFields(code, text));
}

/** A response that is nothing but a status. */
export function trailersOnly(code: number, text: string): HeaderSet {
  return new HeaderSet([[':status', '200'], contentType, ...statusFields(code, text)], ['content-type']);
}

/** The refusal of a compression that this server does not know: names those that it does. */
export function encodingRefusal(encoding: string): HeaderSet {
  const text = `grpc: Decompressor is not installed for grpc-encoding "${encoding}"`;
  return new HeaderSet([
    [':status', '200'],
    contentType,
    ...statusFields(GrpcCode.Unimplemented, text),
    acceptEncoding,
  ]);
}

/** A request that is not gRPC: an HTTP status for whoever sent it, a gRPC status for a confused client. */
export function httpRefusal(httpStatus: number, code: number, text: string): HeaderSet {
  return new HeaderSet([[':status', String(httpStatus)], contentType, ...statusFields(code, text)]);
}

/**
 * A status text as `grpc-message` carries it: UTF-8, everything but printable ASCII and every `%` as `%XX`.
 */
export function percentEncode(text: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(text) && text.length <= textLengthMax) return text.replace(/^ | $/g, '%20');
  let encoded = '';
  for (const octet of new TextEncoder().encode(text.slice(0, textLengthMax))) {
    const plain = octet >= 0x20 && octet <= 0x7e && octet !== 0x25;
    encoded += plain ? String.fromCharCode(octet) : `%${octet.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded.replace(/^ | $/g, '%20');
}

function statusFields(code: number, text: string): (readonly [string, string])[] {
  const status = ['grpc-status', String(code)] as const;
  return text === '' ? [status] : [status, ['grpc-message', percentEncode(text)]];
}
