/**
 * A connection's life: how it is said goodbye to, what is waited for and for how long, who is told.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { clientPreface, readUint31, readUint32, streamIdLargest } from '../../../src/host/http2/frames.js';
import { dataFrame, Flag, FrameType, frame, headersFrame, okHeaders, Peer, Phase, rstStreamFrame } from './peer.js';

const goawayFrame = frame(FrameType.Goaway, 0, 0, new Uint8Array(8));

describe('graceful shutdown', () => {
  it('announces, waits a round trip, names the last stream, serves it, and finishes', () => {
    const peer = Peer.open();
    peer.send(headersFrame(1, true));
    peer.connection.shutdown();
    peer.connection.shutdown();
    const [goaway, ping, ...rest] = peer.frames();
    assert.deepEqual(rest, []);
    assert.equal(readUint31(goaway!.payload, 0), streamIdLargest);
    assert.equal(readUint32(goaway!.payload, 4), ErrorCode.NoError);
    assert.equal(ping!.type, FrameType.Ping);
    peer.send(headersFrame(3, true)); // under way when the peer had not read the first GOAWAY
    assert.equal(peer.requests.length, 2);
    peer.send(frame(FrameType.Ping, Flag.Ack, 0, ping!.payload));
    assert.equal(readUint31(peer.expectFrame(FrameType.Goaway).payload, 0), 3);
    peer.send(headersFrame(5, true), dataFrame(5, true, [1]));
    assert.equal(peer.requests.length, 2, 'a stream above the last is not ours');
    assert.deepEqual(peer.frames(), []);
    peer.requests[1]!.respond();
    assert.equal(peer.connection.phase, Phase.Draining);
    peer.requests[0]!.respond();
    const types = peer.frames().map(({ type }) => type);
    assert.deepEqual(types.slice(-3), [FrameType.Headers, FrameType.Data, FrameType.Headers]);
    assert.equal(peer.connection.phase, Phase.Finished);
  });

  it('does not wait for ever for the round trip', () => {
    const peer = Peer.open({ keepaliveTimeoutMs: 20_000 });
    peer.connection.shutdown();
    peer.frames();
    peer.connection.tick(peer.nowMs + 20_000);
    assert.equal(peer.connection.phase, Phase.Draining);
    peer.connection.tick(peer.nowMs + 20_001);
    assert.equal(readUint31(peer.expectFrame(FrameType.Goaway).payload, 0), 0);
    assert.equal(peer.connection.phase, Phase.Finished);
  });

  it('ends a connection at once that has not begun', () => {
    const peer = new Peer();
    peer.frames();
    peer.connection.shutdown();
    peer.expectGoaway(ErrorCode.NoError);
  });

  it('by the peer lets running streams end', () => {
    const peer = Peer.open();
    peer.send(headersFrame(1, true), goawayFrame);
    assert.equal(peer.connection.phase, Phase.Open);
    peer.request.respond();
    assert.equal(peer.frames().length, 3);
    assert.equal(peer.connection.phase, Phase.Finished);
  });
});

describe('timeouts', () => {
  it('end a connection that does not say what it is', () => {
    for (const first of [clientPreface.slice(0, 10), clientPreface]) {
      const peer = new Peer({ prefaceTimeoutMs: 10_000 });
      peer.frames();
      peer.send(first);
      peer.connection.tick(peer.nowMs + 10_000);
      assert.ok(peer.connection.phase < Phase.Open);
      peer.connection.tick(peer.nowMs + 10_001);
      peer.expectGoaway(ErrorCode.SettingsTimeout);
    }
  });

  it('ping a silent connection, and give it up when it stays silent', () => {
    const peer = Peer.open({ keepaliveIntervalMs: 60_000, keepaliveTimeoutMs: 20_000 });
    peer.send(headersFrame(1, true));
    peer.connection.tick(1_000);
    peer.connection.tick(60_999);
    assert.deepEqual(peer.frames(), []);
    peer.connection.tick(61_000);
    const ping = peer.expectFrame(FrameType.Ping);
    peer.send(frame(FrameType.Ping, Flag.Ack, 0, ping.payload));
    peer.connection.tick(62_000);
    peer.connection.tick(122_000);
    assert.equal(peer.expectFrame(FrameType.Ping).flags, 0);
    peer.connection.tick(141_999);
    assert.equal(peer.connection.phase, Phase.Open);
    peer.connection.tick(142_000);
    assert.equal(peer.connection.phase, Phase.Finished);
    assert.deepEqual(peer.request.resets, [{ cause: 'connection', code: ErrorCode.NoError }]);
  });
});

describe('pings of a client', () => {
  const ping = frame(FrameType.Ping, 0, 0, [2, 4, 16, 16, 9, 14, 7, 7]);

  it('may come at any pace by default, and are answered at once', () => {
    const peer = Peer.open();
    for (let turn = 0; turn < 100; turn += 1) {
      peer.send(ping);
      assert.equal(peer.expectFrame(FrameType.Ping).flags, Flag.Ack);
    }
  });

  it('are too many when a minimum is set: the third early one in a row', () => {
    const peer = Peer.open({ pingIntervalMsMin: 5_000 });
    peer.send(headersFrame(1, false));
    for (let turn = 0; turn < 3; turn += 1) {
      peer.send(ping);
      assert.equal(peer.connection.phase, Phase.Open);
    }
    peer.frames();
    peer.send(ping);
    const goaway = peer.expectFrame(FrameType.Goaway);
    assert.equal(readUint32(goaway.payload, 4), ErrorCode.EnhanceYourCalm);
    assert.equal(String.fromCharCode(...goaway.payload.subarray(8)), 'too_many_pings');
  });

  it('that follow data of ours measure bandwidth and are no strike', () => {
    const peer = Peer.open({ pingIntervalMsMin: 5_000 });
    peer.onRequest = request => request.respond();
    for (let id = 1; id < 41; id += 2) peer.send(headersFrame(id, true), ping);
    peer.frames();
    peer.send(frame(FrameType.Ping, 0, 0, new Uint8Array(8)));
    assert.equal(peer.expectFrame(FrameType.Ping).flags, Flag.Ack);
  });

  it('that follow an answer of headers alone are no strike either', () => {
    const peer = Peer.open({ pingIntervalMsMin: 5_000 });
    peer.onRequest = ({ stream }) => stream.sendHeaders(okHeaders, true);
    for (let id = 1; id < 41; id += 2) peer.send(headersFrame(id, true), ping);
    peer.frames();
    peer.expectAlive();
  });

  it('without a call must be rare', () => {
    const peer = Peer.open({ pingIntervalMsMin: 5_000 });
    for (let turn = 0; turn < 4; turn += 1) {
      peer.nowMs += 6_000;
      peer.send(ping);
    }
    assert.equal(peer.connection.phase, Phase.Finished);
  });
});

describe('the end of a connection', () => {
  it('reaches every receiver once, whatever ends it', () => {
    for (const end of [
      (peer: Peer) => peer.connection.abort(),
      (peer: Peer) => peer.send(frame(FrameType.Ping, 0, 1, new Uint8Array(8))),
      (peer: Peer) => peer.connection.fail(ErrorCode.InternalError, 'test'),
    ]) {
      const peer = Peer.open();
      peer.send(headersFrame(1, false), headersFrame(3, true), headersFrame(5, false), rstStreamFrame(5, 8));
      end(peer);
      end(peer);
      peer.connection.abort();
      assert.deepEqual(
        peer.requests.map(({ resets }) => resets.map(({ cause }) => cause)),
        [['connection'], ['connection'], ['peer']],
      );
      assert.equal(peer.connection.streams, 0);
      for (const { stream } of peer.requests) stream.release();
      assert.equal(peer.connection.handlers, 0);
      for (const request of peer.requests) request.respond();
      assert.equal(peer.frames().filter(({ type }) => type === FrameType.Headers).length, 0);
    }
  });

  it('takes nothing in afterwards', () => {
    const peer = Peer.open();
    peer.send(frame(FrameType.Ping, 0, 1, new Uint8Array(8)), headersFrame(1, true));
    peer.expectGoaway(ErrorCode.ProtocolError);
    assert.equal(peer.requests.length, 0);
  });
});

it('wakes its owner once for all output until it is taken', () => {
  const peer = Peer.open();
  const before = peer.wakes;
  peer.send(headersFrame(1, true), headersFrame(3, true));
  for (const request of peer.requests) request.respond();
  assert.equal(peer.wakes, before + 1);
  peer.frames();
  peer.send(headersFrame(5, true));
  peer.requests[2]!.respond();
  assert.equal(peer.wakes, before + 2);
});
