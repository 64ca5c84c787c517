/**
 * Calls frame by frame: what a client gets for each way in which a call can go, and what its service hears.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Call, CallListener, CancelReason } from '../../../src/host/grpc/call.js';
import { GrpcCounts } from '../../../src/host/grpc/counts.js';
import { Deadlines } from '../../../src/host/grpc/deadlines.js';
import { HeldBytes } from '../../../src/host/grpc/held-bytes.js';
import { acceptCall, type CallContext } from '../../../src/host/grpc/server-call.js';
import type { Http2Limits } from '../../../src/host/http2/limits.js';
import {
  dataFrame,
  type Fields,
  Flag,
  type Frame,
  FrameType,
  headersFrame,
  Peer,
  Phase,
  post,
  rstStreamFrame,
  Setting,
  windowUpdateFrame,
} from '../http2/peer.js';

/** A call and all that its listener heard. */
class Heard implements CallListener {
  readonly call: Call;
  readonly messages: number[][] = [];
  halfCloses = 0;
  cancels: CancelReason[] = [];
  drains = 0;
  onMessage: (() => void) | undefined = undefined;

  constructor(call: Call) {
    this.call = call;
  }

  message(bytes: Uint8Array): void {
    assert.equal(this.cancels.length, 0);
    this.messages.push([...bytes]);
    this.onMessage?.();
  }

  halfClose(): void {
    assert.equal(this.cancels.length, 0);
    this.halfCloses += 1;
    assert.equal(this.halfCloses, 1);
  }

  cancel(reason: CancelReason): void {
    this.cancels.push(reason);
    assert.equal(this.cancels.length, 1);
  }

  drain(): void {
    this.drains += 1;
  }
}

class Server {
  readonly peer: Peer;
  readonly calls: Heard[] = [];
  readonly deadlines: Deadlines;
  onCall: ((heard: Heard) => void) | undefined = undefined;

  constructor(limits: Partial<Http2Limits> = {}, settings: [number, number][] = []) {
    this.deadlines = new Deadlines(10, 1_000);
    const context: CallContext = {
      deadlines: this.deadlines,
      clock: () => this.peer.nowMs,
      receiveBytesMax: 1_000,
      counts: new GrpcCounts(),
      service: call => {
        const heard = new Heard(call);
        this.calls.push(heard);
        this.onCall?.(heard);
        return heard;
      },
    };
    const from = { peer: { address: '192.0.2.1', port: 4_711, commonName: undefined }, held: new HeldBytes(1_000) };
    this.peer = new Peer(limits, (stream, head) => acceptCall(context, stream, head, from));
    this.peer.shakeHands(settings);
  }

  /** Opens a call on stream 1 with further fields. */
  open(fields: Fields = [], endStream = false): Heard {
    this.peer.send(headersFrame(1, endStream, [...post, ...fields]));
    assert.equal(this.calls.length, 1);
    return this.calls[0]!;
  }

  sleep(ms: number): void {
    this.peer.nowMs += ms;
    this.deadlines.advance(this.peer.nowMs);
  }

  /** What the client got on stream 1: fields of headers, messages with flags, fields of trailers, RST_STREAM codes. */
  answer(): { headers: string; messages: [number, number[]][]; trailers: string; resets: number[] } {
    const frames = this.peer.frames().filter(({ streamId }) => streamId === 1);
    const heads = frames.filter(({ type }) => type === FrameType.Headers);
    const fields = heads.map(frame => this.peer.fields(frame).map(([name, value]) => `${name}: ${value}`));
    const ends = heads.map(({ flags }) => (flags & Flag.EndStream) !== 0);
    const whole = frames.every(({ type, payload }) => type !== FrameType.RstStream || payload[3] === 0);
    assert.ok(
      !whole || ends.every((end, index) => end === (index === ends.length - 1)),
      'the last HEADERS ends the stream, and no other',
    );
    const bytes = frames.filter(({ type }) => type === FrameType.Data).flatMap(({ payload }) => [...payload]);
    return {
      headers: fields[0]?.join(', ') ?? '',
      messages: split(bytes),
      trailers: fields[1]?.join(', ') ?? '',
      resets: frames.filter(({ type }) => type === FrameType.RstStream).map(({ payload }: Frame) => payload[3]!),
    };
  }

  /** Nothing is left: no stream, no handler, no deadline. */
  expectClean(): void {
    assert.equal(this.peer.connection.streams, 0);
    assert.equal(this.peer.connection.handlers, 0);
    assert.equal(this.deadlines.size, 0);
  }
}

function split(bytes: number[]): [number, number[]][] {
  const messages: [number, number[]][] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
    messages.push([bytes[at]!, bytes.slice(at + 5, at + 5 + length)]);
    at += 5 + length;
  }
  return messages;
}

function message(bytes: ArrayLike<number>, flag = 0): number[] {
  return [flag, 0, 0, bytes.length >> 8, bytes.length & 255, ...Array.from(bytes)];
}

const okHeaders = ':status: 200, content-type: application/grpc';

describe('a call', () => {
  it('is a path, metadata, a deadline and a peer', () => {
    const server = new Server();
    const { call } = server.open([
      ['grpc-timeout', '250m'],
      ['token', 'secret'],
    ]);
    assert.equal(call.path, '/service/Method');
    assert.equal(call.metadata.get('token'), 'secret');
    assert.equal(call.deadlineMs, 250);
    assert.deepEqual(call.peer, { address: '192.0.2.1', port: 4_711, commonName: undefined });
    assert.equal(call.unsentBytes, 0);
  });

  it('with one message each way', () => {
    const server = new Server();
    const heard = server.open();
    server.peer.send(dataFrame(1, true, message([1, 2, 3])));
    assert.deepEqual([heard.messages, heard.halfCloses], [[[1, 2, 3]], 1]);
    heard.call.reply(Uint8Array.of(4, 5));
    assert.deepEqual(server.answer(), {
      headers: okHeaders,
      messages: [[0, [4, 5]]],
      trailers: 'grpc-status: 0',
      resets: [],
    });
    server.expectClean();
    heard.call.reply(Uint8Array.of(6));
    heard.call.end(13, 'late');
    assert.equal(heard.call.sendMessage(Uint8Array.of(7)), false);
    assert.deepEqual(server.peer.frames(), []);
    assert.deepEqual(heard.cancels, []);
  });

  it('with many messages each way, however the frames cut them', () => {
    const server = new Server();
    const heard = server.open();
    heard.onMessage = () => assert.equal(heard.call.sendMessage(Uint8Array.from(heard.messages.at(-1)!)), true);
    const bytes = [message([]), message([1]), message([2, 3, 4])].flat();
    for (const octet of bytes) server.peer.send(dataFrame(1, false, [octet]));
    server.peer.send(dataFrame(1, false, bytes), dataFrame(1, true, []));
    assert.deepEqual(heard.messages, [[], [1], [2, 3, 4], [], [1], [2, 3, 4]]);
    heard.call.end(0, '');
    const { messages, trailers } = server.answer();
    assert.deepEqual(
      messages.map(([, octets]) => octets),
      heard.messages,
    );
    assert.equal(trailers, 'grpc-status: 0');
    server.expectClean();
  });

  it('that fails at once is one HEADERS frame', () => {
    const server = new Server();
    const heard = server.open([], true);
    heard.call.end(5, 'schlüssel 100%');
    const { headers, messages, trailers } = server.answer();
    assert.equal(headers, `${okHeaders}, grpc-status: 5, grpc-message: schl%C3%BCssel 100%25`);
    assert.deepEqual([messages, trailers], [[], '']);
    server.expectClean();
  });

  it('that fails later says so in its trailers', () => {
    const server = new Server();
    const heard = server.open([], true);
    heard.call.sendMessage(Uint8Array.of(1));
    heard.call.end(14, 'etcdserver: no leader');
    assert.equal(server.answer().trailers, 'grpc-status: 14, grpc-message: etcdserver: no leader');
    server.expectClean();
  });

  it('that its service ends before it returns', () => {
    const server = new Server();
    server.onCall = heard => heard.call.end(12, 'unknown service x');
    const heard = server.open();
    server.peer.send(dataFrame(1, true, message([1])));
    assert.deepEqual([heard.messages, heard.halfCloses, heard.cancels], [[], 0, []]);
    assert.equal(server.answer().headers, `${okHeaders}, grpc-status: 12, grpc-message: unknown service x`);
    server.expectClean();
  });

  it('that is answered before the client has sent everything ends with RST_STREAM(NO_ERROR)', () => {
    const server = new Server();
    server.open().call.reply(Uint8Array.of(1));
    assert.deepEqual(server.answer().resets, [0]);
    server.expectClean();
  });
});

describe('a call is cancelled', () => {
  it('by the client', () => {
    const server = new Server();
    const heard = server.open([['grpc-timeout', '1S']]);
    server.peer.send(rstStreamFrame(1, 8));
    assert.deepEqual(heard.cancels, ['client']);
    server.sleep(2_000);
    assert.equal(server.peer.connection.handlers, 1, 'its handler still works');
    heard.call.reply(Uint8Array.of(1));
    assert.deepEqual(server.peer.frames(), []);
    server.expectClean();
  });

  it('with its connection', () => {
    const server = new Server();
    const heard = server.open();
    server.peer.connection.abort();
    assert.deepEqual(heard.cancels, ['connection']);
    heard.call.end(1, '');
    server.expectClean();
  });

  it('by its deadline, and the client is told', () => {
    const server = new Server();
    const heard = server.open([['grpc-timeout', '100m']]);
    server.sleep(99);
    assert.deepEqual(heard.cancels, []);
    server.sleep(11);
    assert.deepEqual(heard.cancels, ['deadline']);
    assert.equal(server.answer().headers, `${okHeaders}, grpc-status: 4, grpc-message: context deadline exceeded`);
    server.peer.send(rstStreamFrame(1, 8));
    heard.call.end(0, '');
    server.expectClean();
  });

  it('by its deadline behind messages', () => {
    const server = new Server({}, [[Setting.InitialWindowSize, 3]]);
    const heard = server.open([['grpc-timeout', '100m']]);
    heard.call.sendMessage(Uint8Array.of(1));
    server.sleep(200);
    heard.call.end(1, '');
    server.peer.send(windowUpdateFrame(1, 10));
    assert.equal(server.answer().trailers, 'grpc-status: 4, grpc-message: context deadline exceeded');
    server.expectClean();
  });

  it('for frames that break the rules', () => {
    const server = new Server();
    const heard = server.open();
    server.peer.send(windowUpdateFrame(1, 0));
    assert.deepEqual(heard.cancels, ['protocol']);
    assert.deepEqual(server.answer().resets, [1]);
    heard.call.end(1, '');
    server.expectClean();
  });

  it('when its reader lets too much pile up', () => {
    const server = new Server({ streamUnsentBytesMax: 100, streamDrainBytes: 50 }, [[Setting.InitialWindowSize, 0]]);
    const heard = server.open();
    assert.equal(heard.call.sendMessage(new Uint8Array(10)), true);
    assert.equal(heard.call.sendMessage(new Uint8Array(100)), false);
    assert.equal(heard.call.unsentBytes, 120);
    assert.equal(heard.call.sendMessage(new Uint8Array(10)), false);
    assert.deepEqual(heard.cancels, ['slow-reader']);
    assert.deepEqual(server.answer().resets, [11]);
    heard.call.end(1, '');
    server.expectClean();
  });

  it('within its own start, and the listener hears of it all the same', () => {
    const server = new Server({ streamUnsentBytesMax: 1 }, [[Setting.InitialWindowSize, 0]]);
    server.onCall = heard => {
      heard.call.sendMessage(new Uint8Array(10));
      heard.call.sendMessage(new Uint8Array(10));
      assert.deepEqual(heard.cancels, []);
    };
    const heard = server.open();
    assert.deepEqual(heard.cancels, ['slow-reader']);
  });
});

describe('a message', () => {
  it('that is too large is refused by its prefix', () => {
    const server = new Server();
    const heard = server.open();
    server.peer.send(dataFrame(1, false, [0, 0, 0, 3, 233]));
    const text = 'grpc: received message larger than max (1001 vs. 1000)';
    const { headers, resets } = server.answer();
    assert.equal(headers, `${okHeaders}, grpc-status: 8, grpc-message: ${text}`);
    assert.deepEqual([resets, heard.cancels, heard.messages], [[0], ['protocol'], []]);
    server.peer.send(dataFrame(1, true, new Uint8Array(1_001)));
    heard.call.end(1, '');
    server.expectClean();
    assert.equal(server.peer.connection.phase, Phase.Open);
  });

  it('that ends in the middle is an error of the client', () => {
    const server = new Server();
    const heard = server.open();
    server.peer.send(dataFrame(1, true, [0, 0, 0, 0, 2, 1]));
    assert.equal(server.answer().headers, `${okHeaders}, grpc-status: 13, grpc-message: unexpected EOF`);
    assert.deepEqual([heard.cancels, heard.halfCloses], [['protocol'], 0]);
    heard.call.end(1, '');
    server.expectClean();
  });

  it('with an unknown flag, or compressed without a word of it', () => {
    for (const [flag, text] of [
      [2, 'grpc: received unexpected payload format 2'],
      [1, 'grpc: compressed flag set with identity or empty encoding'],
    ] as const) {
      const server = new Server();
      const heard = server.open();
      server.peer.send(dataFrame(1, true, message([1], flag)));
      assert.equal(server.answer().headers, `${okHeaders}, grpc-status: 13, grpc-message: ${text}`);
      assert.deepEqual([heard.cancels, heard.messages], [['protocol'], []]);
    }
  });

  it('that is compressed is unpacked, and answered in kind', () => {
    const server = new Server();
    const heard = server.open([['grpc-encoding', 'gzip']]);
    server.peer.send(dataFrame(1, true, [...message(gzipSync(Uint8Array.of(1, 2, 3)), 1), ...message([4])]));
    assert.deepEqual(heard.messages, [[1, 2, 3], [4]]);
    heard.call.reply(new Uint8Array(500).fill(7));
    const { headers, messages, trailers } = server.answer();
    assert.equal(headers, `${okHeaders}, grpc-encoding: gzip`);
    assert.deepEqual([messages.length, messages[0]![0], trailers], [1, 1, 'grpc-status: 0']);
    assert.deepEqual(gunzipSync(Uint8Array.from(messages[0]![1])), Buffer.alloc(500, 7));
    server.expectClean();
  });

  it('that unpacks to more than the limit, or not at all', () => {
    for (const [packed, code, text] of [
      [gzipSync(new Uint8Array(1_000_000)), 8, 'grpc: received message after decompression larger than max 1000'],
      [Uint8Array.of(1, 2, 3), 13, 'grpc: failed to decompress the received message'],
    ] as const) {
      const server = new Server();
      const heard = server.open([['grpc-encoding', 'gzip']]);
      server.peer.send(dataFrame(1, true, message(packed.subarray(0, 999), 1)));
      const { headers } = server.answer();
      assert.ok(headers.startsWith(`${okHeaders}, grpc-status: ${code}, grpc-message: ${text}`), headers);
      assert.deepEqual(heard.cancels, ['protocol']);
    }
  });
});

describe('a large message', () => {
  const narrow = { streamWindowBytes: 100, wideStreamsMax: 1 };

  /** Two calls of a method; the bytes that the first one's windows give to the second when the first has 200 bytes. */
  function begin(path: string): { server: Server; given: () => number[] } {
    const server = new Server(narrow);
    const fields = post.map(([name, value]) => [name, name === ':path' ? path : value] as const);
    for (const id of [1, 3]) server.peer.send(headersFrame(id, false, fields), dataFrame(id, false, begun));
    const given = (): number[] => {
      const updates = server.peer
        .frames()
        .filter(({ type, streamId }) => type === FrameType.WindowUpdate && streamId > 0);
      return updates.map(({ streamId }) => streamId);
    };
    assert.deepEqual(given(), [1], 'the second waits');
    server.peer.send(dataFrame(1, false, new Uint8Array(105)));
    assert.equal(server.calls[0]!.messages.length, 1);
    return { server, given };
  }
  const begun = message(new Uint8Array(200)).slice(0, 100);

  it('of a unary call lets the next one in when it is answered', () => {
    const { server, given } = begin('/etcdserverpb.KV/Put');
    assert.deepEqual(given(), []);
    server.peer.send(dataFrame(1, true, []));
    assert.deepEqual(given(), []);
    server.calls[0]!.call.reply(Uint8Array.of(1));
    assert.deepEqual(given(), [3]);
  });

  it('of a stream does so when it is whole', () => {
    const { given } = begin('/etcdserverpb.Watch/Watch');
    assert.deepEqual(given(), [3, 1]);
  });
});

describe('sending', () => {
  it('waits for the reader, and says when to go on', () => {
    const server = new Server({ streamDrainBytes: 100 }, [[Setting.InitialWindowSize, 0]]);
    const heard = server.open();
    const sent: boolean[] = [];
    for (let turn = 0; turn < 12; turn += 1) sent.push(heard.call.sendMessage(Uint8Array.of(turn, 0, 0, 0, 0)));
    assert.equal(sent.indexOf(false), 10);
    server.peer.send(windowUpdateFrame(1, 60));
    assert.equal(heard.drains, 0);
    server.peer.send(windowUpdateFrame(1, 10));
    assert.equal(heard.drains, 1);
    heard.call.end(0, '');
    server.peer.send(windowUpdateFrame(1, 1_000));
    assert.equal(server.answer().messages.length, 12);
    assert.equal(heard.drains, 1, 'nobody waits any more');
    server.expectClean();
  });

  it('takes messages out of shared memory, compressed or not', () => {
    for (const fields of [[], [['grpc-encoding', 'gzip']]] as Fields[]) {
      const server = new Server({}, [[Setting.InitialWindowSize, 1]]);
      const heard = server.open(fields, true);
      const shared = new Uint8Array(new SharedArrayBuffer(64)).fill(5);
      heard.call.reply(shared.subarray(10, 30));
      shared.fill(0);
      server.peer.send(windowUpdateFrame(1, 1_000));
      const [flag, octets] = server.answer().messages[0]!;
      const message = flag === 1 ? [...gunzipSync(Uint8Array.from(octets))] : octets;
      assert.deepEqual(message, new Array(20).fill(5));
      server.expectClean();
    }
  });

  it('reads a borrowed message during the call only', () => {
    const server = new Server({}, [[Setting.InitialWindowSize, 7]]);
    const heard = server.open([], true);
    const body = Uint8Array.of(1, 2, 3, 4);
    heard.call.reply(body);
    body.fill(9);
    server.peer.send(windowUpdateFrame(1, 100));
    assert.deepEqual(server.answer().messages, [[0, [1, 2, 3, 4]]]);
    server.expectClean();
  });
});

describe('a request that is no call', () => {
  it('is answered over HTTP and never reaches the service', () => {
    const server = new Server();
    server.peer.send(
      headersFrame(
        1,
        false,
        post.filter(([name]) => name !== 'content-type'),
      ),
    );
    assert.equal(server.calls.length, 0);
    const { headers, resets } = server.answer();
    assert.match(headers, /^:status: 415, content-type: application\/grpc, grpc-status: 3, grpc-message: /);
    assert.deepEqual(resets, [0]);
    server.peer.send(dataFrame(1, false, [1, 2, 3]));
    server.expectClean();
    server.peer.expectAlive();
  });
});
