/**
 * How far streams may send ahead: what is not whole waits for windows, and nobody waits for ever.
 *
 * The receivers here collect parts of given sizes, as a reader of messages does. A window is 1,000 bytes, two streams
 * may be wide, 10,000 bytes together.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import type { BodyListener } from '../../../src/host/gateway/exchange.js';
import { Http2Exchange } from '../../../src/host/gateway/http2.js';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { readUint31 } from '../../../src/host/http2/frames.js';
import { dataFrame, type Fields, FrameType, headersFrame, Peer, post, type Request, rstStreamFrame } from './peer.js';

const windowBytes = 1_000;
const limits = { streamWindowBytes: windowBytes, wideStreamsMax: 2, wideBytesMax: 10_000 };

/** What the connection gave back, by stream. */
type Given = readonly [streamId: number, bytes: number];

function given(peer: Peer): Given[] {
  const updates = peer.frames().filter(({ type, streamId }) => type === FrameType.WindowUpdate && streamId !== 0);
  return updates.map(({ streamId, payload }) => [streamId, readUint31(payload, 0)]);
}

/** Makes a receiver collect parts of these sizes, one after the other; the last one again and again. */
function collect(request: Request, sizes: number[]): void {
  let heard = 0;
  request.onDataDo = () => {
    let left = request.received.length - heard;
    heard = request.received.length;
    while (left > 0) {
      const taken = Math.min(left, sizes[0]! - request.heldBytes);
      left -= taken;
      request.heldBytes += taken;
      if (request.heldBytes < sizes[0]!) continue;
      request.heldBytes = 0;
      if (sizes.length > 1) sizes.shift();
    }
    request.missingBytes = request.heldBytes === 0 ? 0 : sizes[0]! - request.heldBytes;
  };
}

/** Requests on streams 1, 3, 5, …, each of parts of these sizes. */
function collecting(...parts: number[][]): Peer {
  const peer = Peer.open(limits);
  for (const [index, sizes] of parts.entries()) {
    peer.send(headersFrame(2 * index + 1, false));
    collect(peer.requests[index]!, [...sizes]);
  }
  return peer;
}

function send(peer: Peer, streamId: number, bytes: number): Given[] {
  peer.send(dataFrame(streamId, false, new Uint8Array(bytes)));
  return given(peer);
}

/** The last bytes of a request, and its answer. */
function finish(peer: Peer, streamId: number, bytes: number): Given[] {
  peer.send(dataFrame(streamId, true, new Uint8Array(bytes)));
  assert.deepEqual(given(peer), [], 'its room is taken until it is answered');
  peer.requests[streamId >>> 1]!.respond();
  return given(peer);
}

describe('a narrow stream', () => {
  it('is not given back what its receiver holds, until that is whole', () => {
    const peer = collecting([900]);
    assert.deepEqual(send(peer, 1, 800), []);
    assert.deepEqual(send(peer, 1, 99), []);
    assert.deepEqual(send(peer, 1, 1), [[1, 900]]);
  });

  it('is given back what was taken before, so that what has begun fits', () => {
    const peer = collecting([400, 700]);
    assert.deepEqual(send(peer, 1, 900), [[1, 400]], '500 are held, 200 missing, 100 were left');
    assert.deepEqual(send(peer, 1, 200), [[1, 700]]);
  });

  it('never waits with what is small, while others wait', () => {
    const peer = collecting([6_000], [6_000], [6_000], [300]);
    for (const id of [1, 3, 5]) send(peer, id, 1_000);
    let window = windowBytes;
    for (let turn = 0; turn < 200; turn += 1) {
      const bytes = Math.min(window, 250 + (turn % 7) * 100);
      window -= bytes;
      for (const [streamId, back] of send(peer, 7, bytes)) {
        assert.equal(streamId, 7);
        window += back;
      }
      assert.ok(window >= 300 && window <= windowBytes, `${window} bytes are open`);
    }
  });

  it('that sends more than it may while it waits is refused alone', () => {
    const peer = collecting([9_000], [9_000]);
    for (const id of [1, 3]) send(peer, id, 1_000);
    peer.send(dataFrame(3, false, [0]));
    peer.expectReset(3, ErrorCode.FlowControlError);
    assert.deepEqual(send(peer, 1, 8_000), [[1, 1_000]]);
  });
});

describe('a wide stream', () => {
  it('is opened at once for all that it misses, and is narrow behind it', () => {
    const peer = collecting([5_000, 100]);
    assert.deepEqual(send(peer, 1, 10), [[1, 4_000]], '4,990 are missing, 990 were left');
    assert.deepEqual(send(peer, 1, 4_000), []);
    assert.deepEqual(send(peer, 1, 990), [[1, 1_000]]);
  });

  it('is opened again for what padding took', () => {
    const peer = collecting([5_000]);
    send(peer, 1, 10);
    peer.send(Uint8Array.from([0, 1, 0, 0, 8, 0, 0, 0, 1, 255, ...new Array<number>(255).fill(0)]));
    assert.deepEqual(given(peer), []);
    let window = 4_990 - 256;
    for (let sent = 10; sent < 5_000; ) {
      const bytes = Math.min(window, 5_000 - sent, 470);
      assert.ok(bytes > 0, 'the window let it finish');
      sent += bytes;
      window -= bytes;
      for (const [, back] of send(peer, 1, bytes)) window += back;
    }
    assert.ok(window > 500 && window <= 1_000, `${window} bytes are open`);
  });

  it('that cannot say how much it misses gets one window after the other', () => {
    const peer = collecting([6_000], [0]);
    const [, unsure] = peer.requests;
    unsure!.onDataDo = () => {
      unsure!.heldBytes = unsure!.received.length;
      unsure!.missingBytes = windowBytes / 2;
    };
    assert.deepEqual(send(peer, 3, 500), []);
    assert.deepEqual(send(peer, 3, 1), [[3, 501]]);
    for (let turn = 0; turn < 20; turn += 1) assert.deepEqual(send(peer, 3, 501), [[3, 501]]);
    assert.deepEqual(send(peer, 1, 1_000), [], 'it has taken the room of all');
    assert.deepEqual(finish(peer, 3, 1), [[1, 5_000]]);
  });
});

describe('the line of those that wait', () => {
  it('goes on in the order in which they came', () => {
    const peer = collecting(...new Array<number[]>(6).fill([4_000]));
    const first = [1, 3, 9, 5, 11, 7].map(id => send(peer, id, 1_000));
    assert.deepEqual(first, [[[1, 3_000]], [[3, 3_000]], [], [], [], []]);
    const next = [3, 1, 5, 9, 11, 7].map(id => finish(peer, id, 3_000));
    assert.deepEqual(next, [[[9, 3_000]], [[5, 3_000]], [[11, 3_000]], [[7, 3_000]], [], []]);
  });

  it('is bounded by bytes, unless one of them is alone', () => {
    const peer = collecting([6_000], [50_000], [2_000], [2_000]);
    const first = [1, 3, 5, 7].map(id => send(peer, id, 1_000));
    assert.deepEqual(first, [[[1, 5_000]], [], [], []], 'nobody passes the second');
    assert.deepEqual(finish(peer, 1, 5_000), [[3, 49_000]]);
    for (let turn = 1; turn < 7; turn += 1) assert.deepEqual(send(peer, 3, 7_000), []);
    assert.deepEqual(finish(peer, 3, 7_000), [
      [5, 1_000],
      [7, 1_000],
    ]);
  });

  const passes: readonly [how: string, pass: (peer: Peer) => void][] = [
    ['its part is whole', peer => peer.send(dataFrame(1, false, new Uint8Array(900)))],
    ['its part is whole and the next has begun', peer => peer.send(dataFrame(1, false, new Uint8Array(901)))],
    ['the client resets it', peer => peer.send(rstStreamFrame(1, ErrorCode.Cancel))],
    ['it breaks a rule', peer => peer.send(headersFrame(1, false, [['a', 'b']]))],
    ['its handler has ended', peer => peer.requests[0]!.stream.release()],
    ['its handler resets it', peer => peer.requests[0]!.stream.reset(ErrorCode.Cancel)],
    ['it is answered before it has ended', peer => peer.requests[0]!.respond()],
    ['its receiver gives up what it held', peer => abandon(peer)],
  ];
  for (const [how, pass] of passes) {
    it(`goes on when the wide stream is done: ${how}`, () => {
      const peer = collecting([1_400, 9_000], [9_000]);
      assert.deepEqual(send(peer, 1, 500), [[1, 500]], 'a narrow window behind it is left open');
      assert.deepEqual(send(peer, 3, 1_000), []);
      pass(peer);
      assert.deepEqual(
        given(peer).filter(([streamId]) => streamId === 3),
        [[3, 8_000]],
      );
    });
  }

  it('is left by those who are reset: the first, the last, one between', () => {
    const peer = collecting(...new Array<number[]>(7).fill([9_000]));
    for (const id of [1, 3, 5, 7, 9, 11, 13]) send(peer, id, 1_000);
    peer.send(rstStreamFrame(3, ErrorCode.Cancel));
    peer.requests[6]!.stream.reset(ErrorCode.Cancel);
    peer.send(dataFrame(7, false, [0]));
    assert.deepEqual(given(peer), []);
    const order = [1, 5, 9, 11].flatMap(id => finish(peer, id, 8_000).map(([streamId]) => streamId));
    assert.deepEqual(order, [5, 9, 11]);
  });

  it('goes on past a first one that needed more room than there is', () => {
    const peer = collecting([6_000], [9_000], [4_000]);
    for (const id of [1, 3, 5]) send(peer, id, 1_000);
    peer.send(rstStreamFrame(3, ErrorCode.Cancel));
    assert.deepEqual(given(peer), [[5, 3_000]]);
  });

  it('ends with its connection', () => {
    const peer = collecting(...new Array<number[]>(5).fill([9_000]));
    for (const id of [1, 3, 5, 7, 9]) send(peer, id, 1_000);
    peer.connection.fail(ErrorCode.InternalError, 'over');
    assert.deepEqual(
      peer.frames().map(({ type }) => type),
      [FrameType.Goaway],
    );
  });
});

/** What the receiver held is not wanted any more, while its stream stays open. */
function abandon(peer: Peer): void {
  const request = peer.requests[0]!;
  request.onDataDo = undefined;
  request.heldBytes = 0;
  request.missingBytes = 0;
  peer.send(dataFrame(1, false, [0]));
}

/** One who sends parts of all sizes as far as windows let it, and gives some of them up. */
class Sender {
  window = windowBytes;
  left: number;
  isGone = false;
  readonly streamId: number;

  constructor(streamId: number, partBytes: readonly number[]) {
    this.streamId = streamId;
    this.left = partBytes.reduce((sum, bytes) => sum + bytes, 0);
  }
}

it('lets all finish and bounds what they hold, whatever they send and in whatever order', () => {
  const prng = new Prng(20_261_122);
  const sizes = [1, 50, 400, 999, 1_000, 1_001, 1_600, 4_000, 9_999, 10_000, 15_000];
  for (let round = 0; round < 20; round += 1) {
    const parts = Array.from({ length: 40 }, () =>
      Array.from({ length: 1 + prng.nextBelow(4) }, () => sizes[prng.nextBelow(sizes.length)]!),
    );
    const peer = collecting(...parts);
    const senders = parts.map((sizesOf, index) => new Sender(2 * index + 1, sizesOf));
    for (let living = senders; living.length > 0; living = senders.filter(({ left, isGone }) => left > 0 && !isGone)) {
      const able = living.filter(({ window }) => window > 0);
      assert.ok(able.length > 0, 'somebody may send');
      const sender = able[prng.nextBelow(able.length)]!;
      if (prng.nextBelow(300) === 0) {
        sender.isGone = true;
        peer.send(rstStreamFrame(sender.streamId, ErrorCode.Cancel));
        peer.requests[sender.streamId >>> 1]!.heldBytes = 0;
      } else {
        const bytes = Math.min(sender.left, sender.window, 1 + prng.nextBelow(2_000));
        sender.left -= bytes;
        sender.window -= bytes;
        peer.send(dataFrame(sender.streamId, sender.left === 0, new Uint8Array(bytes)));
        if (sender.left === 0) peer.requests[sender.streamId >>> 1]!.respond();
      }
      for (const [streamId, bytes] of given(peer)) senders[streamId >>> 1]!.window += bytes;
      const held = peer.requests.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
      assert.ok(held <= 15_000 + 40 * windowBytes, `${held} bytes are held`);
    }
    assert.equal(senders.filter(({ isGone }) => !isGone).length, peer.requests.filter(({ ended }) => ended).length);
  }
});

describe('a body of the gateway', () => {
  const json: Fields = post.map(([name, value]) => [name, name === 'content-type' ? 'application/json' : value]);

  /** A peer whose one request is an exchange, read by somebody who keeps all of it. */
  function gateway(fields: Fields, reader?: BodyListener): Peer {
    const peer = new Peer({ wideBytesMax: 200_000 }, (stream, head) => {
      const exchange = new Http2Exchange(stream, head, { address: '', port: 0, commonName: undefined });
      if (reader !== undefined) exchange.read(reader);
      return exchange;
    });
    peer.shakeHands();
    peer.send(headersFrame(1, false, [...json, ...fields]));
    return peer;
  }

  const sendTimes = (peer: Peer, times: number): Given[] =>
    Array.from({ length: times }, () => send(peer, 1, 16_384)).flat();

  it('whose length is known is let in at once', () => {
    const peer = gateway([['content-length', '1000000']]);
    assert.deepEqual(send(peer, 1, 1), [[1, 1_000_000 - 65_535]]);
    assert.deepEqual(sendTimes(peer, 60), []);
  });

  it('whose length is not known is let in by windows, also before anybody reads it', () => {
    assert.deepEqual(sendTimes(gateway([]), 40), new Array<Given>(20).fill([1, 2 * 16_384]));
  });

  it('is given back by windows when its reader keeps nothing', () => {
    const ignore = () => undefined;
    const peer = gateway([], { onData: ignore, onEnd: ignore, onGone: ignore, onDrain: ignore, heldBytes: 0 });
    assert.deepEqual(sendTimes(peer, 4), [
      [1, 2 * 16_384],
      [1, 2 * 16_384],
    ]);
  });
});
