/**
 * A scripted client for the pure connection: sends frames, well-formed or not, and reads the ones that come back.
 *
 * Everything happens in memory and at once: after `send`, `frames` holds what the connection answered. Time is a number
 * that the test turns.
 */
import assert from 'node:assert/strict';
import { Connection, Phase } from '../../../src/host/http2/connection.js';
import {
  clientPreface,
  Flag,
  FrameType,
  frameHeaderBytes,
  readUint16,
  readUint24,
  readUint31,
  readUint32,
  Setting,
  writeFrameHeader,
} from '../../../src/host/http2/frames.js';
import { Decoder } from '../../../src/host/http2/hpack/decoder.js';
import { HeaderSet } from '../../../src/host/http2/hpack/encoder.js';
import type { HeaderField } from '../../../src/host/http2/hpack/field.js';
import { type Http2Limits, http2LimitsDefault } from '../../../src/host/http2/limits.js';
import { SegmentPool } from '../../../src/host/http2/output.js';
import type { RequestHead } from '../../../src/host/http2/request-head.js';
import type { SharedUnsent } from '../../../src/host/http2/send-side.js';
import type { ResetCause, Stream, StreamReceiver } from '../../../src/host/http2/stream.js';

export type Fields = readonly (readonly [name: string, value: string])[];

export const okHeaders = new HeaderSet([[':status', '200']], [], true);
export const endTrailers = new HeaderSet([['grpc-status', '0']], ['grpc-status'], true);

/** A POST as gRPC sends it. */
export const post: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/service/Method'],
  [':authority', 'localhost'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];

/** A frame that the connection sent. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

/** A request that the connection accepted, and all that its receiver heard. */
export class Request implements StreamReceiver {
  readonly stream: Stream;
  readonly head: RequestHead;
  readonly received: number[] = [];
  ended = false;
  trailers: readonly HeaderField[] = [];
  resets: { cause: ResetCause; code: number }[] = [];
  drains = 0;
  /** What it says of something unfinished. */
  heldBytes = 0;
  missingBytes = 0;
  onDataDo: (() => void) | undefined = undefined;
  onEndDo: (() => void) | undefined = undefined;
  onWritableDo: (() => void) | undefined = undefined;

  constructor(stream: Stream, head: RequestHead) {
    this.stream = stream;
    this.head = head;
  }

  onData(bytes: Uint8Array, from: number, to: number): void {
    assert.ok(to > from, 'empty data is not worth a call');
    assert.ok(!this.ended && this.resets.length === 0, 'data after the end');
    for (let at = from; at < to; at += 1) this.received.push(bytes[at]!);
    this.onDataDo?.();
  }

  onEnd(trailers: readonly HeaderField[]): void {
    assert.ok(!this.ended && this.resets.length === 0, 'a second end');
    this.ended = true;
    this.trailers = trailers;
    this.onEndDo?.();
  }

  onReset(cause: ResetCause, code: number): void {
    this.resets.push({ cause, code });
    assert.equal(this.resets.length, 1, 'reset twice');
  }

  onWritable(): void {
    this.drains += 1;
    this.onWritableDo?.();
  }

  /** Answers with headers, the text, and trailers. */
  respond(text = 'ok'): void {
    this.stream.respond(okHeaders, new Uint8Array(0), octets(text), endTrailers, false);
    this.stream.release();
  }
}

export class Peer {
  readonly connection: Connection;
  readonly requests: Request[] = [];
  readonly decoder = new Decoder(4_096);
  nowMs = 1_000;
  wakes = 0;
  /** What the connection said of crowding, in order. */
  readonly crowded: boolean[] = [];
  /** What a new request does at once. */
  onRequest: ((request: Request) => void) | undefined = undefined;
  readonly pool = new SegmentPool(2 ** 19);

  /** `accept` replaces the recording of requests. */
  constructor(
    limits: Partial<Http2Limits> = {},
    accept = (stream: Stream, head: RequestHead): StreamReceiver => this.#record(stream, head),
    shared: SharedUnsent = { bytes: 0 },
  ) {
    this.connection = new Connection({
      limits: { ...http2LimitsDefault, ...limits },
      clock: () => this.nowMs,
      pool: this.pool,
      shared,
      accept,
      crowded: isCrowded => this.crowded.push(isCrowded),
      wake: () => {
        this.wakes += 1;
      },
    });
  }

  /** A peer whose handshake is done and whose frames are read. */
  static open(
    limits: Partial<Http2Limits> = {},
    settings: readonly (readonly [number, number])[] = [],
    shared?: SharedUnsent,
  ): Peer {
    const peer = new Peer(limits, undefined, shared);
    peer.shakeHands(settings);
    return peer;
  }

  /** Does the handshake and forgets its frames. */
  shakeHands(settings: readonly (readonly [number, number])[] = []): void {
    this.send(clientPreface, settingsFrame(settings));
    const types = this.frames().map(frame => frame.type);
    assert.deepEqual([types[0], types.at(-1)], [FrameType.Settings, FrameType.Settings]);
    assert.equal(this.connection.phase, Phase.Open);
  }

  #record(stream: Stream, head: RequestHead): Request {
    const request = new Request(stream, head);
    this.requests.push(request);
    this.onRequest?.(request);
    return request;
  }

  get request(): Request {
    assert.equal(this.requests.length, 1, 'exactly one request');
    return this.requests[0]!;
  }

  /** Sends bytes in one chunk. */
  send(...parts: Uint8Array[]): void {
    this.connection.receive(joined(parts));
  }

  /** What the connection has to say since the last call. */
  frames(): Frame[] {
    const parts: Uint8Array[] = [];
    for (const segment of this.connection.takeOutput()) {
      parts.push(segment.bytes.slice(0, segment.length));
      this.pool.give(segment.bytes);
    }
    return parseFrames(joined(parts));
  }

  /** The only frame of a type among those waiting. */
  expectFrame(type: number): Frame {
    const frames = this.frames();
    const found = frames.filter(frame => frame.type === type);
    assert.equal(found.length, 1, `one frame of type ${type} among types ${frames.map(frame => frame.type)}`);
    return found[0]!;
  }

  /** The connection ends with this code. */
  expectGoaway(code: number): void {
    const goaway = this.expectFrame(FrameType.Goaway);
    assert.equal(readUint32(goaway.payload, 4), code, `GOAWAY says ${text(goaway.payload.subarray(8))}`);
    assert.equal(this.connection.phase, Phase.Finished);
    assert.equal(this.connection.streams, 0);
  }

  /** One stream ends with this code, and the connection goes on. */
  expectReset(streamId: number, code: number): void {
    const reset = this.expectFrame(FrameType.RstStream);
    assert.equal(reset.streamId, streamId);
    assert.equal(readUint32(reset.payload, 0), code);
    this.expectAlive();
  }

  /** The connection answers a ping and has nothing else to say. */
  expectAlive(): void {
    const data = [1, 2, 3, 4, 5, 6, 7, 8];
    this.send(frame(FrameType.Ping, 0, 0, data));
    const frames = this.frames();
    assert.deepEqual(
      frames.map(({ type, flags, payload }) => [type, flags, [...payload]]),
      [[FrameType.Ping, Flag.Ack, data]],
    );
  }

  /** The fields of a HEADERS frame that the connection sent. */
  fields(headers: Frame): [string, string][] {
    assert.equal(headers.type, FrameType.Headers);
    const fields: [string, string][] = [];
    const error = this.decoder.decode(headers.payload, 0, headers.payload.length, {
      field: ({ name, value }) => fields.push([name, value]),
    });
    assert.equal(error, undefined);
    return fields;
  }
}

/** A frame with a header that is right. */
export function frame(type: number, flags: number, streamId: number, payload: ArrayLike<number> = []): Uint8Array {
  const bytes = new Uint8Array(frameHeaderBytes + payload.length);
  bytes.set(payload, writeFrameHeader(bytes, 0, payload.length, type, flags, streamId));
  return bytes;
}

/** HEADERS with END_HEADERS. */
export function headersFrame(streamId: number, endStream: boolean, fields: Fields = post): Uint8Array {
  return frame(FrameType.Headers, Flag.EndHeaders | (endStream ? Flag.EndStream : 0), streamId, block(fields));
}

export function dataFrame(streamId: number, endStream: boolean, payload: ArrayLike<number>): Uint8Array {
  return frame(FrameType.Data, endStream ? Flag.EndStream : 0, streamId, payload);
}

export function settingsFrame(settings: readonly (readonly [number, number])[]): Uint8Array {
  return frame(
    FrameType.Settings,
    0,
    0,
    settings.flatMap(([id, value]) => [id >>> 8, id & 255, ...uint32(value)]),
  );
}

export function windowUpdateFrame(streamId: number, bytes: number): Uint8Array {
  return frame(FrameType.WindowUpdate, 0, streamId, uint32(bytes));
}

export function rstStreamFrame(streamId: number, code: number): Uint8Array {
  return frame(FrameType.RstStream, 0, streamId, uint32(code));
}

/** A header block of literals that leave the table alone: HPACK at its plainest. */
export function block(fields: Fields): number[] {
  return fields.flatMap(([name, value]) => [0, ...literal(name), ...literal(value)]);
}

export function literal(value: string): number[] {
  const length = value.length < 127 ? [value.length] : [127, ...varint(value.length - 127)];
  return [...length, ...octets(value)];
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

export function uint32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

export function octets(value: string): Uint8Array {
  return Uint8Array.from(value, character => character.charCodeAt(0));
}

export function text(bytes: ArrayLike<number>): string {
  return String.fromCharCode(...Array.from(bytes));
}

export function hex(value: string): Uint8Array {
  return Uint8Array.from(value.replace(/\s/g, '').match(/../g) ?? [], octet => Number.parseInt(octet, 16));
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Settings as a SETTINGS frame's payload lists them. */
export function settingsOf(payload: Uint8Array): Map<number, number> {
  const settings = new Map<number, number>();
  for (let at = 0; at < payload.length; at += 6) settings.set(readUint16(payload, at), readUint32(payload, at + 2));
  return settings;
}

export function parseFrames(bytes: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = readUint24(bytes, at);
    const from = at + frameHeaderBytes;
    assert.ok(from + length <= bytes.length, 'a frame that was cut');
    frames.push({
      type: bytes[at + 3]!,
      flags: bytes[at + 4]!,
      streamId: readUint31(bytes, at + 5),
      payload: bytes.slice(from, from + length),
    });
    at = from + length;
  }
  return frames;
}

export { Flag, FrameType, Phase, Setting };
