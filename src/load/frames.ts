/**
 * The bytes a load connection sends: preface and requests, prepared once.
 *
 * A request is one HEADERS and one DATA frame. The first one on a connection adds its header fields to the server's
 * HPACK table; in all later ones each field is one byte that refers to the table (RFC 7541 §6.1).
 */
import type { RequestTemplate } from './requests.js';

export interface PreparedRequest {
  readonly bytes: Buffer;
  /** Where the stream number of the DATA frame stands; that of the HEADERS frame is at 5. */
  readonly secondIdAt: number;
  /** Where the gRPC prefix and message start. */
  readonly bodyAt: number;
  /** What the request takes from the flow-control window. */
  readonly dataBytes: number;
}

/** The header fields that are not in HPACK's static table, in the order in which the first request adds them. */
export interface RequestHead {
  readonly path: string;
  readonly authority: string;
}

const methodPost = 0x83;
const schemeHttp = 0x86;
const staticEntries = 61;
const StaticName = { Authority: 1, Path: 4, ContentType: 31 } as const;
export const FrameType = {
  Data: 0,
  Headers: 1,
  RstStream: 3,
  Settings: 4,
  Ping: 6,
  GoAway: 7,
  WindowUpdate: 8,
  Continuation: 9,
} as const;
const endStream = 0x1;
const endHeaders = 0x4;
const initialWindowSize = 4;
const windowMax = 2 ** 31 - 1;
export const windowDefault = 65_535;

/** Connection preface, settings, and a window for the whole connection that stays out of the way. */
export function preface(streamWindowBytes: number): Buffer {
  const settings = Buffer.alloc(6);
  settings.writeUInt16BE(initialWindowSize, 0);
  settings.writeUInt32BE(streamWindowBytes, 2);
  const window = Buffer.alloc(4);
  window.writeUInt32BE(windowMax - windowDefault, 0);
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(FrameType.Settings, 0, 0, settings),
    frame(FrameType.WindowUpdate, 0, 0, window),
  ]);
}

/** The request on stream 1: its header fields are literals that enter the table. */
export function firstRequest(head: RequestHead, template: RequestTemplate): PreparedRequest {
  return prepare(1, firstBlock(head), template);
}

/** A later request, for any stream. */
export function laterRequest(template: RequestTemplate): PreparedRequest {
  return prepare(0, laterBlock(), template);
}

/** Opens a stream that stays open; stream 1 fills the table, all others refer to it. */
export function streamHeaders(stream: number, head: RequestHead): Buffer {
  return frame(FrameType.Headers, endHeaders, stream, stream === 1 ? firstBlock(head) : laterBlock());
}

function firstBlock(head: RequestHead): Buffer {
  return Buffer.concat([
    Buffer.from([methodPost, schemeHttp]),
    Buffer.from([0x40 | StaticName.Path]),
    shortString(head.path),
    Buffer.from([0x40 | StaticName.Authority]),
    shortString(head.authority),
    Buffer.from([0x40 | StaticName.ContentType]),
    shortString('application/grpc'),
    Buffer.from([0x40]),
    shortString('te'),
    shortString('trailers'),
  ]);
}

/** The four added fields are the newest of the table, the last added first. */
function laterBlock(): Buffer {
  const added = [4, 3, 2, 1].map(age => 0x80 | (staticEntries + age));
  return Buffer.from([methodPost, schemeHttp, ...added]);
}

function prepare(stream: number, block: Buffer, template: RequestTemplate): PreparedRequest {
  const headers = frame(FrameType.Headers, endHeaders, stream, block);
  const data = frame(FrameType.Data, endStream, stream, template.body);
  return {
    bytes: Buffer.concat([headers, data]),
    secondIdAt: headers.length + 5,
    bodyAt: headers.length + data.length - template.body.length,
    dataBytes: template.body.length,
  };
}

/** One frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

/** A string literal without Huffman code; all of them are shorter than 127 bytes. */
function shortString(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length >= 127) throw new Error(`too long for a one-byte length: ${text}`);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** Overwrites a frame's stream number. */
export function writeUint31(target: Uint8Array, position: number, value: number): void {
  target[position] = value >>> 24;
  target[position + 1] = value >>> 16;
  target[position + 2] = value >>> 8;
  target[position + 3] = value;
}
