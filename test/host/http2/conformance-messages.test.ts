/**
 * The cases of h2spec 2.6 (146 of them), retold: what a client may send a server, and what the server owes for it.
 *
 * h2spec itself is a Go program that cannot be had from a package registry here, so each of its cases is restated as
 * frames and an expectation, numbered as h2spec numbers them (by sections of RFC 7540 and RFC 7541; RFC 9113 keeps them
 * unless a comment says so). Here: settings, windows, messages, HPACK.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CompressionError,
  FlowControlError,
  FrameSizeError,
  goaway,
  goawayFrame,
  open,
  ProtocolError,
  ping,
  postBlock,
  replaced,
  reset,
  section,
  whole,
  withBlock,
  withFields,
  without,
} from './cases.js';
import {
  dataFrame,
  type Fields,
  Flag,
  FrameType,
  frame,
  headersFrame,
  hex,
  Peer,
  post,
  rstStreamFrame,
  Setting,
  settingsFrame,
  text,
  windowUpdateFrame,
} from './peer.js';

const one = (id: number, value: number): Uint8Array => settingsFrame([[id, value]]);
section('http2/6.5: SETTINGS', [
  {
    name: '6.5/1 an acknowledgement with a payload',
    send: [frame(FrameType.Settings, 1, 0, [0])],
    expect: goaway(FrameSizeError),
  },
  {
    name: '6.5/2 on a stream',
    send: [frame(FrameType.Settings, 0, 1, [0, 3, 0, 0, 0, 9])],
    expect: goaway(ProtocolError),
  },
  { name: '6.5/3 of a wrong size', send: [frame(FrameType.Settings, 0, 0, [0, 3, 0])], expect: goaway(FrameSizeError) },
  { name: '6.5.2/1 ENABLE_PUSH of 2', send: [one(Setting.EnablePush, 2)], expect: goaway(ProtocolError) },
  {
    name: '6.5.2/2 INITIAL_WINDOW_SIZE above 2^31-1',
    send: [one(Setting.InitialWindowSize, 2 ** 31)],
    expect: goaway(FlowControlError),
  },
  {
    name: '6.5.2/3 MAX_FRAME_SIZE below 2^14',
    send: [one(Setting.MaxFrameSize, 16_383)],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.5.2/4 MAX_FRAME_SIZE above 2^24-1',
    send: [one(Setting.MaxFrameSize, 2 ** 24)],
    expect: goaway(ProtocolError),
  },
  { name: '6.5.2/5 an unknown setting', send: [one(0xff, 1), ping()], expect: 'ping ack' },
]);

describe('http2/6.5.3: SETTINGS take effect in order and are acknowledged', () => {
  it('1 the last of several INITIAL_WINDOW_SIZE counts', () => {
    const peer = Peer.open();
    peer.onRequest = request => request.respond();
    peer.send(
      settingsFrame([
        [Setting.InitialWindowSize, 100],
        [Setting.InitialWindowSize, 1],
      ]),
      whole,
    );
    const frames = peer.frames();
    assert.deepEqual([frames[0]!.type, frames[0]!.flags], [FrameType.Settings, Flag.Ack]);
    assert.deepEqual(text(frames.find(({ type }) => type === FrameType.Data)!.payload), 'o');
  });

  it('2 each SETTINGS is acknowledged at once', () => {
    const peer = Peer.open();
    peer.send(settingsFrame([]), settingsFrame([]));
    assert.deepEqual(
      peer.frames().map(({ type, flags }) => [type, flags]),
      [
        [FrameType.Settings, Flag.Ack],
        [FrameType.Settings, Flag.Ack],
      ],
    );
  });
});

section('http2/6.7, 6.8, 7: PING, GOAWAY, error codes', [
  { name: '6.7/1 PING', send: [ping([8, 7, 6, 5, 4, 3, 2, 1])], expect: 'ping ack' },
  {
    name: '6.7/2 an unexpected acknowledgement is ignored',
    send: [frame(FrameType.Ping, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8])],
    expect: 'alive',
  },
  {
    name: '6.7/3 PING on a stream',
    send: [frame(FrameType.Ping, 0, 1, [1, 2, 3, 4, 5, 6, 7, 8])],
    expect: goaway(ProtocolError),
  },
  { name: '6.7/4 PING of a wrong size', send: [ping([1, 2, 3, 4, 5, 6])], expect: goaway(FrameSizeError) },
  {
    name: '6.8/1 GOAWAY on a stream',
    send: [frame(FrameType.Goaway, 0, 1, [0, 0, 0, 0, 0, 0, 0, 0])],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.8 GOAWAY of a wrong size',
    send: [frame(FrameType.Goaway, 0, 0, [0, 0, 0, 0])],
    expect: goaway(FrameSizeError),
  },
  { name: '7/1 GOAWAY with an unknown code', send: [open, goawayFrame(0xff), ping()], expect: 'ping ack' },
  {
    name: '7/2 RST_STREAM with an unknown code',
    before: [open],
    send: [rstStreamFrame(1, 0xff), ping()],
    expect: 'ping ack',
  },
]);

const widest = 2 ** 31 - 1;
section('http2/6.9: WINDOW_UPDATE', [
  { name: '6.9/1 of nothing, on the connection', send: [windowUpdateFrame(0, 0)], expect: goaway(ProtocolError) },
  {
    name: '6.9/2 of nothing, on a stream',
    before: [open],
    send: [windowUpdateFrame(1, 0)],
    expect: reset(ProtocolError),
  },
  {
    name: '6.9/3 of a wrong size',
    send: [frame(FrameType.WindowUpdate, 0, 0, [0, 0, 1])],
    expect: goaway(FrameSizeError),
  },
  {
    name: '6.9.1/2 beyond 2^31-1 on the connection',
    send: [windowUpdateFrame(0, widest), windowUpdateFrame(0, widest)],
    expect: goaway(FlowControlError),
  },
  {
    name: '6.9.1/3 beyond 2^31-1 on a stream',
    before: [open],
    send: [windowUpdateFrame(1, widest), windowUpdateFrame(1, widest)],
    expect: reset(FlowControlError),
  },
  {
    name: '6.9.2/3 an initial window above 2^31-1',
    send: [one(Setting.InitialWindowSize, 2 ** 32 - 1)],
    expect: goaway(FlowControlError),
  },
]);

describe('http2/6.9.1, 6.9.2: windows and DATA', () => {
  const sizes = (peer: Peer) =>
    peer
      .frames()
      .filter(({ type }) => type === FrameType.Data)
      .map(({ payload }) => payload.length);

  it('6.9.1/1 sends one octet into a window of one octet', () => {
    const peer = Peer.open({}, [[Setting.InitialWindowSize, 1]]);
    peer.onRequest = request => request.respond();
    peer.send(whole);
    assert.deepEqual(sizes(peer), [1]);
  });

  it('6.9.2/1 sends more when the initial window grows behind the request', () => {
    const peer = Peer.open({}, [[Setting.InitialWindowSize, 0]]);
    peer.onRequest = request => request.respond();
    peer.send(whole);
    assert.deepEqual(sizes(peer), []);
    peer.send(one(Setting.InitialWindowSize, 1));
    assert.deepEqual(sizes(peer), [1]);
  });

  it('6.9.2/2 waits until a negative window is positive again', () => {
    const peer = Peer.open({}, [[Setting.InitialWindowSize, 3]]);
    peer.onRequest = request => request.respond('octets');
    peer.send(whole);
    assert.deepEqual(sizes(peer), [3]);
    peer.send(one(Setting.InitialWindowSize, 2), windowUpdateFrame(1, 1));
    assert.deepEqual(sizes(peer), []);
    peer.send(windowUpdateFrame(1, 1));
    assert.deepEqual(sizes(peer), [1]);
  });
});

const fields = (...extra: Fields): Uint8Array => withFields([...post, ...extra]);
section('http2/8.1: requests', [
  { name: '8.1/1 a second HEADERS without END_STREAM', before: [open], send: [open], expect: reset(ProtocolError) },
  { name: '8.1.2/1 a capital in a name', send: [fields(['X-TEST', 'ok'])], expect: reset(ProtocolError) },
  {
    name: '8.1.2.1/1 an unknown pseudo field',
    send: [withFields([[':test', 'ok'], ...post])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.1/2 a pseudo field of responses',
    send: [withFields([...post.slice(0, 4), [':status', '200'], ...post.slice(4)])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.1/3 a pseudo field in trailers',
    before: [open],
    send: [headersFrame(1, true, [[':method', 'POST']])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.1/4 a pseudo field behind others',
    send: [withFields([['x', 'y'], ...post])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.2/1 a field of HTTP/1.1 connections',
    send: [fields(['connection', 'keep-alive'])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.2/2 TE of more than trailers',
    send: [fields(['te', 'trailers, deflate'])],
    expect: reset(ProtocolError),
  },
  { name: '8.1.2.3/1 an empty path', send: [withFields(replaced(':path', ''))], expect: reset(ProtocolError) },
  ...[':method', ':scheme', ':path'].flatMap((name, index) => [
    { name: `8.1.2.3/${index + 2} no ${name}`, send: [withFields(without(name))], expect: reset(ProtocolError) },
    {
      name: `8.1.2.3/${index + 5} ${name} twice`,
      send: [withFields([post.find(field => field[0] === name)!, ...post])],
      expect: reset(ProtocolError),
    },
  ]),
  {
    name: '8.1.2.6/1 content-length unlike the one DATA frame',
    send: [headersFrame(1, false, [...post, ['content-length', '1']]), dataFrame(1, true, [1, 2, 3, 4])],
    expect: reset(ProtocolError),
  },
  {
    name: '8.1.2.6/2 content-length unlike the sum of DATA frames',
    send: [
      headersFrame(1, false, [...post, ['content-length', '1']]),
      dataFrame(1, false, [1]),
      dataFrame(1, true, [2]),
    ],
    expect: reset(ProtocolError),
  },
  {
    name: '8.2/1 PUSH_PROMISE',
    send: [frame(FrameType.PushPromise, 4, 1, [0, 0, 0, 2, ...postBlock])],
    expect: goaway(ProtocolError),
  },
]);

section('hpack', [
  {
    name: '2.3.3/1 an index outside of the tables',
    send: [withBlock(...postBlock, 0xc6)],
    expect: goaway(CompressionError),
  },
  {
    name: '2.3.3/2 a literal whose name is outside',
    send: [withBlock(...postBlock, 0x7f, 0x07, 1, 0x78)],
    expect: goaway(CompressionError),
  },
  {
    name: '4.2/1 a size update at the end of a block',
    send: [withBlock(...postBlock, 0x20)],
    expect: goaway(CompressionError),
  },
  {
    name: '5.2/1 Huffman padding of more than seven bits',
    send: [withBlock(...postBlock, ...hex('000161821fff'))],
    expect: goaway(CompressionError),
  },
  {
    name: '5.2/2 Huffman padding of zeros',
    send: [withBlock(...postBlock, ...hex('0001618118'))],
    expect: goaway(CompressionError),
  },
  {
    name: '5.2/3 Huffman EOS',
    send: [withBlock(...postBlock, ...hex('00016184ffffffff'))],
    expect: goaway(CompressionError),
  },
  { name: '6.1/1 index 0', send: [withBlock(...postBlock, 0x80)], expect: goaway(CompressionError) },
  {
    name: '6.3/1 a size update above the limit',
    send: [withBlock(0x3f, 0xe2, 0x1f, ...postBlock)],
    expect: goaway(CompressionError),
  },
]);
