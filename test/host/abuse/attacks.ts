/**
 * The attacks: each is a small program against one endpoint, and the end that it must come to.
 *
 *     quick     come to their end by a count or a size
 *     slow      come to it by a timeout, about ten seconds
 *
 * A story is what the attacker saw last: the frame or the status line, and whether the server closed.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { encodeMessage } from '../../support/messages.js';
import {
  block,
  dataFrame,
  Flag,
  type Frame,
  FrameType,
  frame,
  headersFrame,
  literal,
  rstStreamFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from '../http2/peer.js';
import { Attacker, grpcFields, prefixed } from './attacker.js';
import { goodKey, largeKey } from './stage.js';

export interface Attack {
  readonly name: string;
  /** The story it must have. */
  readonly ends: string;
  /** The most that the server's heap and buffers may grow meanwhile, in bytes; 128 MiB if absent. */
  readonly growthBytesMax?: number;
  /** Carries it out, against the one or the other endpoint, and returns its story; `hasty`: goes on to the next soon. */
  run(endpoint: string, tlsEndpoint: string, hasty?: boolean): Promise<string>;
}

const mib = 1024 * 1024;
const put = '/etcdserverpb.KV/Put';
const range = '/etcdserverpb.KV/Range';
const watch = '/etcdserverpb.Watch/Watch';
const putHead = (streamId: number) => headersFrame(streamId, false, grpcFields(put));
const idOf = (turn: number): number => 2 * turn + 1;

/** An HTTP/2 attacker does something, and the server closes or ends stream 1. */
function overHttp2(
  name: string,
  ends: string,
  act: (attacker: Attacker) => void | Promise<void>,
  settings: readonly (readonly [number, number])[] = [],
): Attack {
  const run = async (endpoint: string): Promise<string> => {
    const attacker = await Attacker.http2(endpoint, settings);
    await act(attacker);
    const story = ends.endsWith('closed') ? await attacker.end() : await attacker.endOf(1);
    attacker.destroy();
    return story;
  };
  return { name, ends, run };
}

/** Frames of one kind, far more than anybody needs. */
function flood(name: string, text: string, bytesOf: (turn: number) => Uint8Array): Attack {
  return overHttp2(`${name} flood`, `GOAWAY 11 ${text}, closed`, async attacker => {
    attacker.write(putHead(1));
    await attacker.flood(5_000, turn => joined(100, at => bytesOf(100 * turn + at)));
  });
}

/** One header block on stream 1, which the server cannot or will not read. */
function headerBlock(name: string, ends: string, bytes: readonly number[]): Attack {
  return overHttp2(name, ends, attacker => {
    attacker.write(frame(FrameType.Headers, Flag.EndHeaders, 1, [...block(grpcFields(put)), ...bytes]));
  });
}

/** Whatever it is, the server sees an attacker that leaves it lying around and goes. */
function abandoned(
  name: string,
  growthBytesMax: number,
  act: (attacker: Attacker) => Promise<void>,
  settings: readonly (readonly [number, number])[] = [],
): Attack {
  const run = async (endpoint: string): Promise<string> => {
    const attacker = await Attacker.http2(endpoint, settings);
    await act(attacker);
    attacker.destroy();
    return 'gone';
  };
  return { name, ends: 'gone', growthBytesMax, run };
}

const large = 'x'.repeat(3_900);
const neverIndexed = {
  eos: [0x10, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00],
  length: [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
};

const floods: readonly Attack[] = [
  flood('rapid reset', 'too many resets', turn => joined(2, at => (at === 0 ? putHead : cancel)(idOf(turn + 1)))),
  flood('made-you-reset', 'too many resets', turn =>
    joined(2, at => (at === 0 ? putHead(idOf(turn + 1)) : windowUpdateFrame(idOf(turn + 1), 0))),
  ),
  flood('SETTINGS', 'too many SETTINGS', () => settingsFrame([])),
  flood('PING', 'too_many_pings', () => frame(FrameType.Ping, 0, 0, new Uint8Array(8))),
  flood('unasked ack', 'too many frames without effect', () => frame(FrameType.Ping, Flag.Ack, 0, new Uint8Array(8))),
  flood('empty DATA', 'too many frames without effect', () => dataFrame(1, false, [])),
  flood('PRIORITY', 'too many frames without effect', () => frame(FrameType.Priority, 0, 1, [0, 0, 0, 0, 9])),
  flood('unknown frame', 'too many frames without effect', () => frame(0xee, 0, 0)),
  flood('WINDOW_UPDATE', 'too many WINDOW_UPDATEs', () => windowUpdateFrame(0, 1)),
  overHttp2('CONTINUATION flood', 'GOAWAY 11 header block too large, closed', async attacker => {
    attacker.write(frame(FrameType.Headers, 0, 1, block(grpcFields(put))));
    await attacker.flood(5_000, () => frame(FrameType.Continuation, 0, 1, []));
  }),
  overHttp2('CONTINUATION flood of bytes', 'GOAWAY 11 header block too large, closed', async attacker => {
    attacker.write(frame(FrameType.Headers, 0, 1, block(grpcFields(put))));
    await attacker.flood(5_000, () => frame(FrameType.Continuation, 0, 1, new Uint8Array(16_384)));
  }),
  overHttp2('HPACK bombs', 'GOAWAY 11 too many resets, closed', async attacker => {
    const bomb = [...block(grpcFields(put)), 0x40, ...literal('bomb'), ...literal(large)];
    const references = new Array<number>(4_000).fill(0xbe);
    await attacker.flood(5_000, turn =>
      frame(FrameType.Headers, Flag.EndHeaders, idOf(turn), [...bomb, ...references]),
    );
  }),
  overHttp2('SETTINGS of thousands of windows', 'GOAWAY 11 too many settings in one frame, closed', async attacker => {
    await attacker.flood(10, turn => joined(1_000, at => putHead(idOf(1_000 * turn + at))));
    const windows = Array.from({ length: 2_730 }, (_, at) => [Setting.InitialWindowSize, 65_535 + (at % 2)] as const);
    await attacker.flood(100, () => settingsFrame(windows));
  }),
];

const wrong: readonly Attack[] = [
  headerBlock('HPACK index beyond the table', 'GOAWAY 9 header block, closed', [0xff, 0xff, 0x01]),
  headerBlock('HPACK length that overflows', 'GOAWAY 9 header block, closed', neverIndexed.length),
  headerBlock('Huffman end of string', 'GOAWAY 9 header block, closed', neverIndexed.eos),
  headerBlock('HPACK table sizes', 'GOAWAY 9 header block, closed', new Array<number>(1_000).fill(0x20)),
  headerBlock(
    'request head of more than 16 KB',
    'RST 11',
    block(Array.from({ length: 30 }, (_, at) => [`x-${at}`, at < 4 ? large : ''] as const)),
  ),
  overHttp2('window overflow', 'GOAWAY 3 connection window overflow, closed', attacker => {
    attacker.write(windowUpdateFrame(0, 2 ** 31 - 1));
  }),
  overHttp2('window overflow of a stream', 'RST 3', attacker => {
    attacker.write(putHead(1), windowUpdateFrame(1, 2 ** 31 - 1));
  }),
  overHttp2('frame that is too large', 'GOAWAY 6 frame larger than SETTINGS_MAX_FRAME_SIZE, closed', attacker => {
    attacker.write(Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]));
  }),
  overHttp2('HTTP/1 after the preface', 'GOAWAY 6 frame larger than SETTINGS_MAX_FRAME_SIZE, closed', attacker => {
    attacker.write('GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }),
  overHttp2('stream that is used again', 'GOAWAY 5 HEADERS on a closed stream, closed', async attacker => {
    attacker.request(1, range, encodeMessage('RangeRequest', { key: goodKey }));
    await attacker.endOf(1);
    attacker.write(putHead(1));
  }),
  overHttp2(
    'message of 4 GB, claimed',
    'grpc 8 grpc: received message larger than max (4294967295 vs. 2097152)',
    attacker => void attacker.write(putHead(1), dataFrame(1, false, prefixed(Buffer.alloc(100), 2 ** 32 - 1))),
  ),
  overHttp2('gzip bomb', 'grpc 8 grpc: received message after decompression larger than max 2097152', attacker => {
    const bomb = prefixed(gzipSync(Buffer.alloc(100 * mib), { level: 9 }), undefined, 1);
    const head = headersFrame(1, false, grpcFields(put, ['grpc-encoding', 'gzip']));
    attacker.write(head, ...framesOf(1, bomb));
  }),
];

const piles: readonly Attack[] = [
  abandoned('10,000 calls without a message', 128 * mib, async attacker => {
    await attacker.flood(100, turn => joined(100, at => putHead(idOf(100 * turn + at))));
  }),
  abandoned('2,000 messages that are claimed and never sent', 128 * mib, async attacker => {
    const begun = dataFrame(1, false, prefixed(Buffer.alloc(100), 2 * mib));
    await attacker.flood(20, turn => joined(100, at => onStream(idOf(100 * turn + at), begun)));
  }),
  {
    name: 'messages that are never finished',
    ends: '15 of 200 were let on',
    growthBytesMax: 96 * mib,
    run: async endpoint => {
      const attacker = await Attacker.http2(endpoint);
      const streams = Array.from({ length: 200 }, (_, turn) => idOf(turn));
      for (const id of streams) attacker.write(onStream(id, dataFrame(1, false, prefixed(new Uint8Array(0), 2 * mib))));
      await attacker.until(() => letOn(attacker).length === unfinishedMax);
      let sentBytes = 5 * streams.length;
      const allButOne = async (id: number, bytes: number): Promise<void> => {
        for (let left = bytes - 1; left > 0; left -= 16_000) {
          const piece = dataFrame(id, false, new Uint8Array(Math.min(left, 16_000)));
          await attacker.until(() => openedBytes(attacker, 0) > sentBytes + piece.length);
          await attacker.flood(1, () => piece);
          sentBytes += piece.length;
        }
      };
      for (const id of streams) await allButOne(id, 65_535 - 5);
      for (const id of letOn(attacker)) await allButOne(id, 2 * mib - 65_529);
      const story = `${letOn(attacker).length} of ${streams.length} were let on`;
      attacker.destroy();
      return story;
    },
  },
  abandoned('messages that are never finished, beyond all windows', 96 * mib, async attacker => {
    const piece = dataFrame(1, false, prefixed(new Uint8Array(16_000), 2 * mib));
    await attacker.flood(20, turn => joined(10, at => onStream(idOf(10 * turn + at), piece)));
    await attacker.flood(1_000, turn => pieceOn(idOf(turn % 200), piece));
    const resets = (): Frame[] => attacker.frames.filter(({ type }) => type === FrameType.RstStream);
    await attacker.until(() => resets().length === 200 - unfinishedMax);
    assert.deepEqual([...new Set(resets().map(({ payload }) => payload[3]))], [ErrorCode.FlowControlError]);
  }),
  askingForLarge('replies that no window lets out', 0),
  askingForLarge('replies that nobody reads', 2 ** 31 - 1),
  abandoned(
    'watches that never read',
    128 * mib,
    async attacker => {
      const create = encodeMessage('WatchRequest', {
        create_request: { key: goodKey, range_end: Buffer.from('goof'), prev_kv: true },
      });
      await attacker.flood(5, turn =>
        joined(100, at => {
          const id = idOf(100 * turn + at);
          return Buffer.concat([headersFrame(id, false, grpcFields(watch)), dataFrame(id, false, prefixed(create))]);
        }),
      );
      attacker.request(5_001, range, encodeMessage('RangeRequest', { key: goodKey }));
      await attacker.until(() => attacker.frames.some(({ streamId }) => streamId === 5_001));
    },
    [[Setting.InitialWindowSize, 0]],
  ),
];

/** Messages of two megabytes that a connection may be in the middle of, beyond the windows that streams begin with. */
const unfinishedMax = 15;

/** How far the server has opened a stream's window, or with 0 the connection's. */
function openedBytes({ frames }: Attacker, id: number): number {
  const updates = frames.filter(({ type, streamId }) => type === FrameType.WindowUpdate && streamId === id);
  return updates.reduce((sum, { payload }) => sum + Buffer.from(payload).readUInt32BE(0), 65_535);
}

/** The streams that were opened further than they began. */
function letOn({ frames }: Attacker): number[] {
  const updates = frames.filter(({ type, streamId }) => type === FrameType.WindowUpdate && streamId > 0);
  return [...new Set(updates.map(({ streamId }) => streamId))];
}

/** How often an attacker asks for a large value, and how often it could have been answered when it leaves. */
const asks = 400;
const othersTurns = 150;
const othersTurnsHasty = 5;

/**
 * Asks for a large value again and again and takes none of the replies, or (with a window) not even what says so. By the
 * time it leaves, another client has waited for its turn so often that as many replies could have been made.
 */
function askingForLarge(name: string, windowBytes: number): Attack {
  const run = async (endpoint: string, _tlsEndpoint: string, hasty = false): Promise<string> => {
    const attacker = await Attacker.http2(endpoint, [[Setting.InitialWindowSize, windowBytes]]);
    attacker.write(windowUpdateFrame(0, 2 ** 31 - 1 - 65_535));
    if (windowBytes > 0) attacker.socket.pause();
    const ask = prefixed(encodeMessage('RangeRequest', { key: largeKey }));
    const head = grpcFields(range);
    for (let turn = 0; turn < asks / 100; turn++) {
      attacker.write(
        joined(100, at => {
          const id = idOf(100 * turn + at);
          return Buffer.concat([headersFrame(id, false, head), dataFrame(id, true, ask)]);
        }),
      );
    }
    const other = await Attacker.http2(endpoint);
    for (let turn = 0; turn < (hasty ? othersTurnsHasty : othersTurns); turn++) {
      other.request(idOf(turn), range, encodeMessage('RangeRequest', { key: goodKey }));
      await other.endOf(idOf(turn));
    }
    other.destroy();
    const made = attacker.frames.filter(({ type }) => type === FrameType.Headers).length;
    const story = attacker.story();
    attacker.destroy();
    return `${made < asks / 10 ? 'few' : made} were made, ${story}`;
  };
  const story = windowBytes > 0 ? 'nothing' : 'status 200';
  return { name, ends: `few were made, ${story}`, growthBytesMax: 64 * mib, run };
}

/** Bytes of HTTP/1, or of nothing at all, and the server's answer. */
function overHttp1(name: string, ends: string, ...pieces: readonly (string | Uint8Array)[]): Attack {
  const run = async (endpoint: string): Promise<string> => {
    const attacker = await Attacker.connect(endpoint);
    for (const piece of pieces) attacker.write(piece);
    if (ends.endsWith('closed')) await attacker.end();
    else await attacker.until(() => attacker.text.includes('\r\n\r\n'));
    attacker.destroy();
    return ends.endsWith('closed') ? attacker.story() : attacker.story().replace(', closed', '');
  };
  return { name, ends, run };
}

function gatewayCall(path: string, body: string): string {
  const length = Buffer.byteLength(body);
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n${body}`;
}

const websocketHead =
  'GET /v3/watch HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

const http1: readonly Attack[] = [
  overHttp1('garbage', 'HTTP/1.1 400, closed', Buffer.concat([Buffer.from('\0\x01garbage'), randomBytes(10_000)])),
  overHttp1('head of 100 KB', 'HTTP/1.1 431, closed', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(100_000)}`),
  overHttp1(
    'body of two lengths',
    'HTTP/1.1 400, closed',
    'POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
  ),
  overHttp1(
    'chunk of 16 EB',
    'HTTP/1.1 400, closed',
    'POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n',
  ),
  overHttp1('body of 9 MB', 'HTTP/1.1 429', gatewayCall('/v3/kv/put', `{"key":"${'A'.repeat(9_000_000)}"}`)),
  overHttp1(
    'JSON of great depth',
    'HTTP/1.1 400',
    gatewayCall('/v3/kv/put', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
  ),
  overHttp1(
    'JSON of a million numbers',
    'HTTP/1.1 429',
    gatewayCall('/v3/kv/range', `{"key":"AA==","x":[0${',0'.repeat(1_000_000)}]}`),
  ),
  overHttp1(
    'JSON of a million objects',
    'HTTP/1.1 429',
    gatewayCall('/v3/kv/txn', `{"success":[{}${',{}'.repeat(1_100_000)}]}`),
  ),
  overHttp1(
    'JSON of a million members',
    'HTTP/1.1 429',
    gatewayCall('/v3/kv/range', `{${'"key":"",'.repeat(800_000)}"a":0}`),
  ),
  {
    name: 'websocket that pings and never reads',
    ends: 'HTTP/1.1 101, closed',
    run: async endpoint => {
      const attacker = await Attacker.connect(endpoint);
      attacker.write(websocketHead);
      await attacker.until(() => attacker.text.includes('\r\n\r\n'));
      attacker.socket.pause();
      const ping = Buffer.concat([Buffer.from([0x89, 0xfd, 0, 0, 0, 0]), Buffer.alloc(125)]);
      await attacker.flood(1_000, () => joined(1_000, () => ping));
      attacker.socket.resume();
      return await attacker.end();
    },
  },
  {
    name: 'websocket of unmasked frames',
    ends: 'HTTP/1.1 101, closed',
    run: async endpoint => {
      const attacker = await Attacker.connect(endpoint);
      attacker.write(websocketHead);
      await attacker.until(() => attacker.text.includes('\r\n\r\n'));
      attacker.write(randomBytes(1_000).fill(0x81, 0, 1).fill(0x05, 1, 2));
      return await attacker.end();
    },
  },
  {
    name: 'requests one behind the other, and no answer read',
    ends: 'HTTP/1.1 200',
    run: async endpoint => {
      const attacker = await Attacker.connect(endpoint);
      attacker.socket.pause();
      const requests = Buffer.from('GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(1_000));
      let taken = 0;
      while (taken < 500 && attacker.write(requests)) {
        taken += 1;
        await new Promise(resolve => setImmediate(resolve));
      }
      attacker.socket.resume();
      await attacker.until(() => attacker.text !== '');
      attacker.destroy();
      return attacker.story();
    },
  },
];

/** The record that a handshake begins with, cut off in its length. */
const clientHello = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);

/** An attack on the port that speaks TLS only. */
function onTlsPort({ name, ends, run }: Attack): Attack {
  return { name: `TLS port: ${name}`, ends, run: (_endpoint, tlsEndpoint) => run(tlsEndpoint, tlsEndpoint) };
}

const overTls: readonly Attack[] = [
  onTlsPort(overHttp1('plaintext HTTP/1', 'nothing, closed', 'GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n')),
  onTlsPort(overHttp1('plaintext HTTP/2', 'nothing, closed', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', settingsFrame([]))),
  onTlsPort(overHttp1('broken handshake', 'nothing, closed', clientHello, randomBytes(2_000))),
];

/** By count and size. */
export const quickAttacks: readonly Attack[] = [...floods, ...wrong, ...http1, ...overTls, ...piles];

/** A byte a second of what a client would say at once. */
function dripping(name: string, ends: string, isHttp2: boolean, first: Uint8Array | string, rest: Uint8Array): Attack {
  const run = async (endpoint: string): Promise<string> => {
    const attacker = await Attacker.connect(endpoint, isHttp2);
    attacker.write(first);
    let at = 0;
    const dripper = setInterval(
      () => attacker.write(rest.subarray(at++ % rest.length, ((at - 1) % rest.length) + 1)),
      1_000,
    );
    const story = await attacker.end();
    clearInterval(dripper);
    return story;
  };
  return { name, ends, run };
}

/** More of them than seconds pass. */
const manySettings = Array.from({ length: 10 }, () => [Setting.InitialWindowSize, 65_535] as const);
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** By time. */
export const slowAttacks: readonly Attack[] = [
  dripping('preface that drips', 'nothing, closed', true, 'PRI', Buffer.from(preface.slice(3))),
  dripping(
    'preface and no SETTINGS',
    'GOAWAY 4 no SETTINGS in time, closed',
    true,
    preface,
    settingsFrame(manySettings),
  ),
  dripping(
    'header block that drips',
    'GOAWAY 11 header block not finished in time, closed',
    true,
    Buffer.concat([Buffer.from(preface), settingsFrame([]), frame(FrameType.Headers, 0, 1, block(grpcFields(put)))]),
    frame(FrameType.Continuation, 0, 1, new Uint8Array(100)),
  ),
  dripping(
    'head of HTTP/1 that drips',
    'HTTP/1.1 408, closed',
    false,
    'GET / HTTP/1.1\r\nHost: localhost\r\nX: ',
    Buffer.from('x'),
  ),
  silent('2,000 connections that say nothing', 2_000),
  onTlsPort(dripping('handshake that drips', 'nothing, closed', false, clientHello, new Uint8Array(100))),
  onTlsPort(silent('500 connections that say nothing', 500)),
];

/** Connections that are opened, and that is all. */
function silent(name: string, connections: number): Attack {
  const run = async (endpoint: string): Promise<string> => {
    const stories = Array.from({ length: connections }, async () => (await Attacker.connect(endpoint)).end());
    return [...new Set(await Promise.all(stories))].join(' | ');
  };
  return { name, ends: 'nothing, closed', run };
}

// Bytes. --------------------------------------------------------------------------------------------------------------

function cancel(streamId: number): Uint8Array {
  return rstStreamFrame(streamId, 8);
}

/** So many pieces behind one another. */
function joined(count: number, pieceOf: (at: number) => Uint8Array): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => pieceOf(at)));
}

/** A prepared frame on another stream. */
function pieceOn(streamId: number, prepared: Uint8Array): Buffer {
  const copy = Buffer.from(prepared);
  copy.writeUInt32BE(streamId, 5);
  return copy;
}

/** A request whose first DATA frame is prepared. */
function onStream(streamId: number, prepared: Uint8Array): Buffer {
  return Buffer.concat([putHead(streamId), pieceOn(streamId, prepared)]);
}

/** A body as DATA frames, the last of which ends the stream. */
function framesOf(streamId: number, body: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += 16_384) {
    frames.push(dataFrame(streamId, at + 16_384 >= body.length, body.subarray(at, at + 16_384)));
  }
  return frames;
}
