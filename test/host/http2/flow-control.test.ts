/**
 * Flow control in both directions (RFC 9113 §5.2, §6.9), back-pressure, and fairness between streams.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { readUint31 } from '../../../src/host/http2/frames.js';
import { segmentBytes } from '../../../src/host/http2/output.js';
import type { Stream } from '../../../src/host/http2/stream.js';
import {
  dataFrame,
  endTrailers,
  Flag,
  type Frame,
  FrameType,
  frame,
  headersFrame,
  okHeaders,
  Peer,
  rstStreamFrame,
  Setting,
  settingsFrame,
  settingsOf,
  windowUpdateFrame,
} from './peer.js';

const kib = 1_024;
const nothing = new Uint8Array(0);
const data = (frames: readonly Frame[]): Frame[] => frames.filter(({ type }) => type === FrameType.Data);
const bytesOf = (frames: readonly Frame[]): number =>
  data(frames).reduce((sum, { payload }) => sum + payload.length, 0);

it('announces its windows with the first frames', () => {
  const peer = new Peer({ streamWindowBytes: 300_000, connectionWindowBytes: 500_000, concurrentStreamsMax: 7 });
  const [settings, update] = peer.frames();
  assert.deepEqual([settings!.type, settings!.flags], [FrameType.Settings, 0]);
  const values = settingsOf(settings!.payload);
  assert.equal(values.get(Setting.InitialWindowSize), 300_000);
  assert.equal(values.get(Setting.MaxConcurrentStreams), 7);
  assert.deepEqual([update!.type, update!.streamId], [FrameType.WindowUpdate, 0]);
  assert.equal(readUint31(update!.payload, 0), 500_000 - 65_535);
});

it('gives back what it received once half of a window is used, padding included', () => {
  const peer = Peer.open({ streamWindowBytes: 1_000, connectionWindowBytes: 65_535 });
  peer.send(headersFrame(1, false), dataFrame(1, false, new Uint8Array(499)));
  assert.deepEqual(peer.frames(), []);
  peer.send(frame(FrameType.Data, Flag.Padded, 1, [0]));
  const update = peer.expectFrame(FrameType.WindowUpdate);
  assert.deepEqual([update.streamId, readUint31(update.payload, 0)], [1, 500]);
  for (let sent = 500; sent < 32_500; sent += 500) peer.send(dataFrame(1, false, new Uint8Array(500)));
  assert.deepEqual(
    peer.frames().filter(({ streamId }) => streamId === 0),
    [],
  );
  peer.send(dataFrame(1, true, new Uint8Array(400)));
  const updates = peer.frames();
  assert.deepEqual(
    updates.map(({ streamId, payload }) => [streamId, readUint31(payload, 0)]),
    [[0, 32_900]],
    'one for the connection, none for a stream that has ended',
  );
});

it('refuses data beyond a window: of a stream, of the connection', () => {
  const stream = Peer.open({ streamWindowBytes: 1_000 });
  stream.send(headersFrame(1, false), dataFrame(1, false, new Uint8Array(1_001)));
  stream.expectReset(1, ErrorCode.FlowControlError);
  const connection = Peer.open({ streamWindowBytes: 100_000, connectionWindowBytes: 65_535 });
  for (const id of [1, 3, 5]) connection.send(headersFrame(id, false));
  // A window of 65,535 that is opened at half of it: three frames of 16 KiB later it has been opened once.
  for (let sent = 0; sent < 6; sent += 1) connection.send(dataFrame(1, false, new Uint8Array(16 * kib)));
  assert.equal(connection.frames().filter(({ streamId }) => streamId === 0).length, 3);
  const late = Peer.open({ frameBytesMax: 100_000, streamWindowBytes: 100_000, connectionWindowBytes: 65_535 });
  late.send(headersFrame(1, false), dataFrame(1, false, new Uint8Array(65_536)));
  late.expectGoaway(ErrorCode.FlowControlError);
});

it('counts data of streams that are gone against the connection', () => {
  const peer = Peer.open({ connectionWindowBytes: 65_535 });
  peer.send(headersFrame(1, false));
  peer.request.stream.reset(ErrorCode.Cancel);
  peer.frames();
  for (let sent = 0; sent < 100; sent += 1) peer.send(dataFrame(1, false, new Uint8Array(kib)));
  assert.deepEqual(
    peer.frames().map(({ type, streamId, payload }) => [type, streamId, readUint31(payload, 0)]),
    [
      [FrameType.WindowUpdate, 0, 32 * kib],
      [FrameType.WindowUpdate, 0, 32 * kib],
      [FrameType.WindowUpdate, 0, 32 * kib],
    ],
  );
});

it('never sends more than the windows of stream and connection allow', () => {
  const peer = Peer.open({}, [[Setting.InitialWindowSize, 50_000]]);
  peer.send(headersFrame(1, true), headersFrame(3, true));
  const body = Uint8Array.from({ length: 60_000 }, (_, index) => index % 251);
  for (const { stream } of peer.requests) stream.respond(okHeaders, Uint8Array.of(9), body, endTrailers, false);
  let frames = peer.frames();
  assert.equal(bytesOf(frames), 65_535, 'the connection has one window');
  assert.equal(bytesOf(frames.filter(({ streamId }) => streamId === 1)), 50_000, 'and the first stream its own');
  assert.equal(peer.connection.unsentBytes, 2 * 60_001 - 65_535);
  peer.send(windowUpdateFrame(1, 100_000));
  assert.equal(bytesOf(peer.frames()), 0, 'a stream cannot pass the connection');
  peer.send(windowUpdateFrame(0, 100_000));
  frames = peer.frames();
  assert.equal(bytesOf(frames.filter(({ streamId }) => streamId === 1)), 10_001);
  assert.equal(bytesOf(frames.filter(({ streamId }) => streamId === 3)), 50_000 - 15_535);
  peer.send(windowUpdateFrame(3, 10_001));
  frames = peer.frames();
  assert.equal(bytesOf(frames), 10_001);
  assert.equal(frames.at(-1)!.flags & Flag.EndStream, Flag.EndStream, 'trailers follow the last octet');
  assert.equal(peer.connection.streams, 0);
  assert.equal(peer.connection.unsentBytes, 0);
});

it('sends what a borrowed body held when it was lent', () => {
  const peer = Peer.open({}, [[Setting.InitialWindowSize, 10]]);
  peer.send(headersFrame(1, true));
  const body = Uint8Array.from({ length: 30 }, (_, index) => index);
  peer.request.stream.respond(okHeaders, Uint8Array.of(100, 101), body, endTrailers, false);
  body.fill(255);
  peer.send(windowUpdateFrame(1, 100));
  const sent = data(peer.frames()).flatMap(({ payload }) => [...payload]);
  assert.deepEqual(sent, [100, 101, ...Array.from({ length: 30 }, (_, index) => index)]);
});

it('keeps what waits of a large borrowed body in segments, which go back when it has left or is given up', () => {
  const peer = Peer.open({}, [[Setting.InitialWindowSize, 0]]);
  const segments: Uint8Array[] = Array.from({ length: 3 }, () => new Uint8Array(segmentBytes));
  const putIntoPool = (): void => {
    for (const segment of segments) peer.pool.give(segment);
  };
  const areInPool = (): boolean[] => {
    const all = Array.from({ length: 8 }, () => peer.pool.take(true));
    return segments.map(segment => all.includes(segment));
  };
  const body = Uint8Array.from({ length: 3 * segmentBytes + 100 }, (_, index) => index / 100);
  const expected = Buffer.from(body);
  putIntoPool();
  peer.send(headersFrame(1, true), headersFrame(3, true), headersFrame(5, true));
  peer.requests[0]!.stream.respond(okHeaders, nothing, body, endTrailers, false);
  assert.deepEqual(areInPool(), [false, false, false]);
  body.fill(255);
  peer.send(windowUpdateFrame(0, 2 * body.length), windowUpdateFrame(1, body.length));
  assert.deepEqual(Buffer.concat(data(peer.frames()).map(({ payload }) => payload)), expected);
  assert.deepEqual(areInPool(), [true, true, true], 'all were written into frames');
  peer.frames(); // after an empty batch the next begins with a small segment
  putIntoPool();
  peer.requests[1]!.stream.respond(okHeaders, nothing, body, endTrailers, false);
  assert.deepEqual(areInPool(), [false, false, false]);
  peer.send(rstStreamFrame(3, ErrorCode.Cancel));
  assert.deepEqual(areInPool(), [true, true, true], 'the stream is gone');
  const given = segments[0]!;
  peer.requests[2]!.stream.respond(okHeaders, nothing, given, endTrailers, true);
  peer.send(windowUpdateFrame(5, segmentBytes));
  assert.equal(bytesOf(peer.frames()), segmentBytes);
  assert.deepEqual(areInPool(), [false, false, false], 'who gave it may still read it');
});

it('obeys a smaller window for streams that wait already, and the frame size that the peer takes', () => {
  const peer = Peer.open({}, [[Setting.MaxFrameSize, 20_000]]);
  peer.send(headersFrame(1, true));
  peer.request.stream.sendHeaders(okHeaders, false);
  peer.request.stream.sendData(nothing, new Uint8Array(65_535), false);
  const sizes = data(peer.frames()).map(({ payload }) => payload.length);
  assert.equal(Math.max(...sizes), 16 * kib);
  peer.request.stream.sendData(nothing, new Uint8Array(100), false);
  peer.send(settingsFrame([[Setting.InitialWindowSize, 0]]), windowUpdateFrame(0, 1_000));
  peer.send(windowUpdateFrame(1, 65_535));
  assert.equal(bytesOf(peer.frames()), 0, 'the stream stands at zero');
  peer.send(windowUpdateFrame(1, 60));
  assert.equal(bytesOf(peer.frames()), 60);
});

it('turns from stream to stream, a frame each, so that a small reply passes a large one', () => {
  const peer = Peer.open({}, [[Setting.InitialWindowSize, 10_000_000]]);
  peer.send(headersFrame(1, true), headersFrame(3, true), headersFrame(5, true));
  const [large, other, small] = peer.requests;
  large!.stream.respond(okHeaders, nothing, new Uint8Array(1_000 * kib), endTrailers, true);
  other!.stream.respond(okHeaders, nothing, new Uint8Array(1_000 * kib), endTrailers, true);
  peer.frames();
  small!.respond();
  assert.equal(bytesOf(peer.frames()), 0, 'the window is used up');
  peer.send(windowUpdateFrame(0, 10 * 16 * kib));
  const order = data(peer.frames()).map(({ streamId }) => streamId);
  assert.ok(order.indexOf(5) <= 2, `stream 5 within the first round of ${order}`);
  assert.ok(Math.abs(order.filter(id => id === 1).length - order.filter(id => id === 3).length) <= 1, `${order}`);
});

it('makes no more frames than the socket takes, however wide the windows', () => {
  const peer = Peer.open({ outputBytesMax: 100_000 }, [[Setting.InitialWindowSize, 2 ** 31 - 1]]);
  peer.send(windowUpdateFrame(0, 2 ** 31 - 1 - 65_535), headersFrame(1, true));
  peer.request.stream.respond(okHeaders, nothing, new Uint8Array(1_000_000), endTrailers, true);
  assert.equal(peer.connection.wantsInput, false);
  let sent = 0;
  for (let turn = 0; turn < 20; turn += 1) {
    const bytes = bytesOf(peer.frames());
    assert.ok(bytes <= 100_000 + 16 * kib, `${bytes} bytes at once`);
    sent += bytes;
    peer.connection.setBacklog(100_000);
    assert.equal(bytesOf(peer.frames()), 0, 'nothing while the socket is full');
    peer.connection.setBacklog(0);
  }
  assert.equal(sent, 1_000_000);
  assert.equal(peer.connection.wantsInput, true);
  assert.equal(peer.connection.streams, 0);
});

it('tells a sender of messages to wait, and when to go on, once each', () => {
  const peer = Peer.open({ streamDrainBytes: 1_000 }, [[Setting.InitialWindowSize, 0]]);
  peer.send(headersFrame(1, true));
  const { stream } = peer.request;
  stream.sendHeaders(okHeaders, false);
  assert.equal(stream.sendData(nothing, new Uint8Array(1_000), false), true);
  assert.equal(stream.sendData(nothing, new Uint8Array(1), false), false);
  assert.equal(stream.sendData(nothing, new Uint8Array(1), false), false);
  peer.send(windowUpdateFrame(1, 501));
  assert.equal(peer.request.drains, 0);
  peer.send(windowUpdateFrame(1, 1));
  assert.equal(peer.request.drains, 1);
  assert.equal(stream.sendData(nothing, new Uint8Array(1), false), true);
  stream.end(endTrailers);
  peer.send(windowUpdateFrame(1, 1_000));
  assert.equal(peer.request.drains, 1);
  assert.equal(peer.connection.streams, 0);
});

it('lets a receiver send more from within its own drain', () => {
  const peer = Peer.open({ streamDrainBytes: 1_000 }, [[Setting.InitialWindowSize, 0]]);
  peer.send(headersFrame(1, true));
  const { stream } = peer.request;
  let left = 200;
  const fill = () => {
    while (left > 0 && stream.sendData(nothing, new Uint8Array(700), false)) left -= 1;
  };
  peer.request.onWritableDo = fill;
  fill();
  let sent = bytesOf(peer.frames());
  while (stream.queuedBytes > 0) {
    peer.send(windowUpdateFrame(1, 5_000), windowUpdateFrame(0, 5_000));
    sent += bytesOf(peer.frames());
  }
  assert.equal(left, 0);
  assert.ok(sent >= 200 * 700, `${sent} bytes`);
});

it('resets a stream whose reader lets too much pile up, and tells its receiver', () => {
  const peer = Peer.open({ streamUnsentBytesMax: 10_000 }, [[Setting.InitialWindowSize, 0]]);
  peer.send(headersFrame(1, true));
  const { stream } = peer.request;
  stream.sendHeaders(okHeaders, false);
  stream.sendData(nothing, new Uint8Array(50_000), false); // one message may be as large as it is
  peer.frames();
  assert.equal(stream.sendData(nothing, new Uint8Array(1), false), false);
  assert.deepEqual(peer.request.resets, [{ cause: 'slow-reader', code: ErrorCode.EnhanceYourCalm }]);
  assert.equal(peer.connection.unsentBytes, 0);
  peer.expectReset(1, ErrorCode.EnhanceYourCalm);
  assert.equal(stream.sendData(nothing, new Uint8Array(1), false), false, 'and stays reset');
});

it('bounds what all streams of a connection leave unread', () => {
  const peer = Peer.open({ connectionUnsentBytesMax: 100_000 }, [[Setting.InitialWindowSize, 0]]);
  for (let id = 1; id <= 9; id += 2) peer.send(headersFrame(id, true));
  for (const { stream } of peer.requests)
    stream.respond(okHeaders, nothing, new Uint8Array(40_000), endTrailers, false);
  assert.deepEqual(
    peer.requests.map(({ resets }) => resets.length),
    [0, 0, 0, 1, 1],
  );
  assert.equal(peer.connection.unsentBytes, 120_000);
  assert.equal(peer.connection.streams, 3);
});

const marks = { crowdedFromBytes: 100_000, crowdedUntilBytes: 50_000 };

/** A peer without windows, and so many requests that wait for their answers. */
function crowdedPeer(requests: number): Peer {
  const peer = Peer.open(marks, [[Setting.InitialWindowSize, 0]]);
  for (let at = 0; at < requests; at += 1) peer.send(headersFrame(2 * at + 1, true));
  return peer;
}

const answer = ({ stream }: { stream: Stream }): void =>
  stream.respond(okHeaders, nothing, new Uint8Array(40_000), endTrailers, false);

it('says once that its answers are not taken, and once that they are', () => {
  const peer = crowdedPeer(5);
  const said = peer.requests.map(request => {
    answer(request);
    return [...peer.crowded];
  });
  assert.deepEqual(said, [[], [], [true], [true], [true]]);
  const steps = Array.from({ length: 10 }, () => {
    peer.send(windowUpdateFrame(0, 20_000), settingsFrame([[Setting.InitialWindowSize, 40_000]]));
    return peer.crowded.length;
  });
  // 200,000 bytes in steps of 20,000 behind a first one of 85,535: at the fifth no more than the lower mark is left.
  assert.deepEqual(steps, [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
  assert.deepEqual(peer.crowded, [true, false]);
  assert.equal(peer.connection.unsentBytes, 0);
});

it('is no longer crowded when its client gives the answers up, or is gone', () => {
  const givenUp = crowdedPeer(3);
  givenUp.requests.forEach(answer);
  givenUp.send(rstStreamFrame(1, ErrorCode.Cancel));
  assert.deepEqual(givenUp.crowded, [true]);
  givenUp.send(rstStreamFrame(3, ErrorCode.Cancel));
  assert.deepEqual(givenUp.crowded, [true, false]);
  const gone = crowdedPeer(3);
  gone.requests.forEach(answer);
  gone.connection.abort();
  assert.deepEqual(gone.crowded, [true, false]);
});

it('is not crowded by streams that go on: they have a wait of their own', () => {
  const peer = crowdedPeer(1);
  const { stream } = peer.request;
  stream.sendHeaders(okHeaders, false);
  stream.sendData(nothing, new Uint8Array(150_000), false);
  assert.deepEqual(peer.crowded, []);
  stream.end(endTrailers);
  assert.deepEqual(peer.crowded, [true]);
});
