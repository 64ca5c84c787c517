/**
 * What a peer may not do to us: each attack meets its bound (limits.ts), and the clients beside it are not hurt because
 * nothing is shared but the thread.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import {
  block,
  dataFrame,
  type Fields,
  Flag,
  FrameType,
  frame,
  headersFrame,
  literal,
  Peer,
  Phase,
  post,
  rstStreamFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './peer.js';

/** Repeats until the connection is finished; returns how often. */
function repeat(peer: Peer, timesMax: number, act: (turn: number) => void): number {
  for (let turn = 0; turn < timesMax; turn += 1) {
    act(turn);
    if (peer.connection.phase === Phase.Finished) return turn + 1;
    if (turn % 100 === 99) peer.frames();
  }
  return timesMax;
}

describe('rapid reset', () => {
  it('of streams by the client (CVE-2023-44487): burst, then calm', () => {
    const peer = Peer.open({ resetsBurst: 50, resetsPerSecond: 10 });
    const turns = repeat(peer, 200, turn =>
      peer.send(headersFrame(turn * 2 + 1, false), rstStreamFrame(turn * 2 + 1, 8)),
    );
    assert.equal(turns, 51);
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
    assert.ok(peer.requests.every(({ resets }) => resets.length === 1));
  });

  it('of streams by us, provoked by the client (CVE-2025-8671)', () => {
    const peer = Peer.open({ resetsBurst: 50, resetsPerSecond: 10 });
    const turns = repeat(peer, 200, turn =>
      peer.send(headersFrame(turn * 2 + 1, false), windowUpdateFrame(turn * 2 + 1, 0)),
    );
    assert.equal(turns, 51);
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
  });

  it('at a pace that a busy client may keep is served for ever', () => {
    const peer = Peer.open({ resetsBurst: 50, resetsPerSecond: 100 });
    const turns = repeat(peer, 1_000, turn => {
      peer.nowMs += 10;
      peer.send(headersFrame(turn * 2 + 1, false), rstStreamFrame(turn * 2 + 1, 8));
    });
    assert.equal(turns, 1_000);
    peer.frames();
    peer.expectAlive();
  });

  it('does not free the place of a handler that still works', () => {
    const peer = Peer.open({ concurrentStreamsMax: 2 });
    peer.send(headersFrame(1, false), rstStreamFrame(1, 8), headersFrame(3, false), rstStreamFrame(3, 8));
    assert.equal(peer.connection.streams, 0);
    assert.equal(peer.connection.handlers, 2);
    peer.send(headersFrame(5, false));
    peer.expectReset(5, ErrorCode.RefusedStream);
    peer.requests[0]!.stream.release();
    peer.requests[0]!.stream.release();
    assert.equal(peer.connection.handlers, 1);
    peer.send(headersFrame(7, false));
    assert.equal(peer.requests.length, 3);
  });
});

describe('header blocks', () => {
  const begin = frame(FrameType.Headers, 0, 1, block(post));

  it('spread over too many frames (CVE-2024-27316)', () => {
    const peer = Peer.open({ headerBlockFramesMax: 8 });
    peer.send(begin);
    assert.equal(
      repeat(peer, 100, () => peer.send(frame(FrameType.Continuation, 0, 1, []))),
      8,
    );
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
    assert.equal(peer.requests.length, 0);
  });

  it('of too many bytes', () => {
    const peer = Peer.open({ headerBlockBytesMax: 20_000 });
    peer.send(begin, frame(FrameType.Continuation, 0, 1, new Uint8Array(16_384)));
    assert.equal(peer.connection.phase, Phase.Open);
    peer.send(frame(FrameType.Continuation, 0, 1, new Uint8Array(16_384)));
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
  });

  it('never finished', () => {
    const peer = Peer.open({ headerBlockTimeoutMs: 5_000 });
    peer.send(begin);
    peer.nowMs += 5_000;
    peer.connection.tick(peer.nowMs);
    assert.equal(peer.connection.phase, Phase.Open);
    peer.nowMs += 1;
    peer.connection.tick(peer.nowMs);
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
  });

  it('that unpack to more than the list may hold: refused, and the table kept straight', () => {
    const peer = Peer.open({ headerListBytesMax: 16_384 });
    const large = 'x'.repeat(3_900);
    const insert = [0x40, ...literal('bomb'), ...literal(large)];
    const references = new Array<number>(4_000).fill(0xbe);
    peer.send(frame(FrameType.Headers, Flag.EndHeaders, 1, [...block(post), ...insert, ...references]));
    peer.expectReset(1, ErrorCode.EnhanceYourCalm);
    peer.send(frame(FrameType.Headers, Flag.EndHeaders, 3, [...block(post), 0xbe]));
    assert.equal(peer.request.head.fields.at(-1)!.value, large, 'the entry is there for the next request');
  });

  it('of trailers that are too large end only their stream', () => {
    const peer = Peer.open();
    const fields: Fields = Array.from({ length: 30 }, (_, index) => [`x-${index}`, 'y'.repeat(600)] as const);
    peer.send(headersFrame(1, false));
    const bytes = block(fields);
    peer.send(
      frame(FrameType.Headers, Flag.EndStream, 1, bytes.slice(0, 16_000)),
      frame(FrameType.Continuation, Flag.EndHeaders, 1, bytes.slice(16_000)),
    );
    peer.expectReset(1, ErrorCode.EnhanceYourCalm);
    assert.deepEqual(peer.request.resets, [{ cause: 'protocol', code: ErrorCode.EnhanceYourCalm }]);
  });
});

describe('floods', () => {
  const floods: [name: string, limits: Record<string, number>, bytes: Uint8Array][] = [
    ['SETTINGS', { settingsBurst: 20, settingsPerSecond: 1 }, settingsFrame([])],
    ['PING', { pingsBurst: 20, pingsPerSecond: 1 }, frame(FrameType.Ping, 0, 0, new Uint8Array(8))],
    ['WINDOW_UPDATE', { windowUpdatesBurst: 20, windowUpdatesPerSecond: 1 }, windowUpdateFrame(0, 1)],
    ['empty DATA', { idleFramesBurst: 20, idleFramesPerSecond: 1 }, dataFrame(1, false, [])],
    ['PRIORITY', { idleFramesBurst: 20, idleFramesPerSecond: 1 }, frame(FrameType.Priority, 0, 1, [0, 0, 0, 0, 9])],
    ['unknown frames', { idleFramesBurst: 20, idleFramesPerSecond: 1 }, frame(0xee, 0, 0)],
    ['unasked acks', { idleFramesBurst: 20, idleFramesPerSecond: 1 }, frame(FrameType.Settings, Flag.Ack, 0)],
    [
      'unasked pongs',
      { idleFramesBurst: 20, idleFramesPerSecond: 1 },
      frame(FrameType.Ping, Flag.Ack, 0, new Uint8Array(8)),
    ],
  ];
  for (const [name, limits, bytes] of floods) {
    it(`of ${name} end the connection, and a pace below them does not`, () => {
      const flooded = Peer.open(limits);
      flooded.send(headersFrame(1, false));
      const turns = repeat(flooded, 100, () => flooded.send(bytes));
      assert.ok(turns <= 21, `${turns} frames`);
      flooded.expectGoaway(ErrorCode.EnhanceYourCalm);
      const paced = Peer.open(limits);
      paced.send(headersFrame(1, false));
      repeat(paced, 100, () => {
        paced.nowMs += 1_000;
        paced.send(bytes);
      });
      paced.frames();
      paced.expectAlive();
    });
  }

  it('of RST_STREAM on streams that are gone', () => {
    const peer = Peer.open({ idleFramesBurst: 20 });
    peer.send(headersFrame(1, false));
    assert.equal(
      repeat(peer, 100, () => peer.send(rstStreamFrame(1, 8))),
      22,
    );
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
  });

  it('let window updates through that our own data caused', () => {
    const peer = Peer.open({ windowUpdatesBurst: 20, windowUpdatesPerSecond: 0.001 });
    peer.onRequest = request => request.respond();
    for (let id = 1; id < 400; id += 2) {
      peer.send(headersFrame(id, true), windowUpdateFrame(0, 2));
      peer.frames();
    }
    peer.expectAlive();
  });

  it('that nobody reads the answers of stop the reading', () => {
    const peer = Peer.open({ outputBytesMax: 10_000 });
    let pings = 0;
    while (peer.connection.wantsInput) {
      peer.send(frame(FrameType.Ping, 0, 0, new Uint8Array(8)));
      pings += 1;
    }
    assert.ok(pings <= 10_000 / 17 + 1, `${pings} answers wait`);
  });
});

it('SETTINGS of more entries than there are settings end the connection at once', () => {
  const peer = Peer.open({ settingsPerFrameMax: 2 });
  peer.send(
    settingsFrame([
      [4, 1],
      [4, 2],
      [4, 3],
    ]),
  );
  peer.expectGoaway(ErrorCode.EnhanceYourCalm);
});

describe('responses that nobody reads', () => {
  it('end the connection when much waits and none of it moves', () => {
    const peer = Peer.open({ stalledBytesMax: 1_000, stalledTimeoutMs: 5_000 }, [[Setting.InitialWindowSize, 10]]);
    peer.onRequest = request => request.respond('x'.repeat(2_000));
    peer.send(headersFrame(1, true));
    const pass = (ms: number): void => {
      peer.nowMs += ms;
      peer.connection.tick(peer.nowMs);
      peer.frames();
    };
    pass(1_000);
    pass(4_000);
    peer.send(windowUpdateFrame(1, 1)); // it moves
    pass(4_000);
    pass(1_000);
    pass(4_999);
    assert.equal(peer.connection.phase, Phase.Open);
    peer.nowMs += 1;
    peer.connection.tick(peer.nowMs);
    peer.expectGoaway(ErrorCode.EnhanceYourCalm);
  });

  it('may stay when it is little', () => {
    const peer = Peer.open({ stalledBytesMax: 3_000, stalledTimeoutMs: 5_000 }, [[Setting.InitialWindowSize, 10]]);
    peer.onRequest = request => request.respond('x'.repeat(2_000));
    peer.send(headersFrame(1, true));
    peer.frames();
    for (let turn = 0; turn < 100; turn += 1) {
      peer.nowMs += 1_000;
      peer.connection.tick(peer.nowMs);
    }
    assert.equal(peer.connection.phase, Phase.Open);
  });

  it('are refused to a connection that has its share, once all together have too much', () => {
    const limits = { sharedUnsentBytesMax: 3_000, unsentShareBytes: 1_000 };
    const shared = { bytes: 0 };
    const [greedy, modest] = [limits, limits].map(each => Peer.open(each, [[Setting.InitialWindowSize, 0]], shared));
    for (const [peer, bytes] of [
      [greedy!, 3_500],
      [modest!, 500],
    ] as const) {
      peer.onRequest = request => request.respond('x'.repeat(bytes));
      peer.send(headersFrame(1, true));
      peer.frames();
      peer.send(headersFrame(3, true));
    }
    greedy!.expectReset(3, ErrorCode.EnhanceYourCalm);
    assert.equal(modest!.connection.streams, 2);
    greedy!.connection.abort();
    modest!.connection.abort();
    assert.equal(shared.bytes, 0);
  });
});

describe('late frames', () => {
  it('on a stream that we reset are ignored while it is remembered, and given the benefit of the doubt later', () => {
    const peer = Peer.open({ resetStreamsRemembered: 4 });
    for (let id = 1; id < 21; id += 2) {
      peer.send(headersFrame(id, false));
      peer.requests.at(-1)!.stream.reset(ErrorCode.Cancel);
    }
    peer.frames();
    for (let id = 1; id < 21; id += 2) peer.send(dataFrame(id, false, [1]), headersFrame(id, true, [['x', 'y']]));
    assert.deepEqual(peer.frames(), []);
    peer.expectAlive();
  });

  it('on a stream that was answered before its request was complete are ignored', () => {
    const peer = Peer.open();
    peer.onRequest = request => request.respond();
    peer.send(headersFrame(1, false));
    const types = peer.frames().map(({ type }) => type);
    assert.deepEqual(types, [FrameType.Headers, FrameType.Data, FrameType.Headers, FrameType.RstStream]);
    peer.send(dataFrame(1, false, [1]), windowUpdateFrame(1, 5), rstStreamFrame(1, 8), dataFrame(1, true, [1]));
    assert.deepEqual(peer.frames(), []);
    assert.deepEqual(peer.request.received, []);
    peer.expectAlive();
  });

  it('that end the request in the same chunk spare the stream its RST_STREAM', () => {
    const peer = Peer.open();
    peer.onRequest = request => request.respond();
    peer.send(headersFrame(1, false), dataFrame(1, true, [1]));
    assert.deepEqual(
      peer.frames().map(({ type }) => type),
      [FrameType.Headers, FrameType.Data, FrameType.Headers],
    );
    assert.equal(peer.request.ended, true);
    assert.equal(peer.connection.streams, 0);
    assert.equal(peer.connection.handlers, 0);
  });
});
