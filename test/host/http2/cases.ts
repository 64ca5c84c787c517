/**
 * Cases of one shape: frames that a client sends, and what the server owes for them. Every accepted request is answered
 * with `ok` as soon as it has ended.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import type { Http2Limits } from '../../../src/host/http2/limits.js';
import { block, type Fields, Flag, FrameType, frame, headersFrame, Peer, Phase, post, text, uint32 } from './peer.js';

/** What must happen: a connection error, an error of stream 1, a response on stream 1, or a connection that goes on. */
export type Expected =
  | { readonly goaway: number }
  | { readonly reset: number }
  | 'response'
  | 'alive'
  | 'ping ack'
  | 'closed';

export interface Case {
  readonly name: string;
  readonly send: readonly Uint8Array[];
  readonly expect: Expected;
  /** Sent first, with its answers ignored. */
  readonly before?: readonly Uint8Array[];
  readonly limits?: Partial<Http2Limits>;
}

export const { ProtocolError, StreamClosed, FrameSizeError, FlowControlError, CompressionError } = ErrorCode;
export const goaway = (code: number): Expected => ({ goaway: code });
export const reset = (code: number): Expected => ({ reset: code });
export const priority = (streamId: number, dependsOn: number, weight = 15): Uint8Array =>
  frame(FrameType.Priority, 0, streamId, [...uint32(dependsOn), weight]);
export const ping = (data: number[] = [0, 0, 0, 0, 0, 0, 0, 0]): Uint8Array => frame(FrameType.Ping, 0, 0, data);
export const goawayFrame = (code: number): Uint8Array => frame(FrameType.Goaway, 0, 0, [...uint32(0), ...uint32(code)]);
export const get: Fields = post.map(([name, value]) => [name, name === ':method' ? 'GET' : value] as const);
export const whole = headersFrame(1, true);
export const open = headersFrame(1, false);
export const postBlock = block(post);
export const half = postBlock.length >> 1;
export const headersBegun = frame(FrameType.Headers, Flag.EndStream, 1, postBlock.slice(0, half));
export const continuation = (flags: number, streamId = 1, payload: number[] = postBlock.slice(half)): Uint8Array =>
  frame(FrameType.Continuation, flags, streamId, payload);
export const padded = (fragment: number[], padding: number): number[] => [
  padding,
  ...fragment,
  ...new Array<number>(padding).fill(0),
];
export const withBlock = (...octets: number[]): Uint8Array =>
  frame(FrameType.Headers, Flag.EndHeaders | Flag.EndStream, 1, octets);
export const withFields = (fields: Fields): Uint8Array => headersFrame(1, true, fields);
export const without = (name: string): Fields => post.filter(field => field[0] !== name);
export const replaced = (name: string, value: string): Fields =>
  post.map(field => (field[0] === name ? ([name, value] as const) : field));

export function run({ name, send, expect, before, limits }: Case): void {
  it(name, () => {
    const peer = Peer.open(limits);
    peer.onRequest = request => {
      request.onEndDo = () => request.respond();
    };
    for (const bytes of before ?? []) {
      peer.send(bytes);
      peer.frames();
    }
    peer.send(...send);
    if (expect === 'response') return expectResponse(peer);
    if (expect === 'alive') {
      peer.frames();
      return peer.expectAlive();
    }
    if (expect === 'ping ack') return void assert.equal(peer.expectFrame(FrameType.Ping).flags, Flag.Ack);
    if (expect === 'closed') return void assert.equal(peer.connection.phase, Phase.Finished);
    if ('goaway' in expect) peer.expectGoaway(expect.goaway);
    else peer.expectReset(1, expect.reset);
  });
}

export function expectResponse(peer: Peer): void {
  const frames = peer.frames().filter(({ type, streamId }) => streamId === 1 && type !== FrameType.WindowUpdate);
  assert.deepEqual(
    frames.map(({ type }) => type),
    [FrameType.Headers, FrameType.Data, FrameType.Headers],
  );
  assert.deepEqual(peer.fields(frames[0]!), [[':status', '200']]);
  assert.equal(text(frames[1]!.payload), 'ok');
  assert.equal(frames[2]!.flags, Flag.EndHeaders | Flag.EndStream);
  assert.equal(peer.connection.streams, 0);
  peer.expectAlive();
}

export function section(name: string, cases: readonly Case[]): void {
  describe(name, () => {
    for (const one of cases) run(one);
  });
}
