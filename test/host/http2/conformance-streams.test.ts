/**
 * The cases of h2spec 2.6 (146 of them), retold: what a client may send a server, and what the server owes for it.
 *
 * h2spec itself is a Go program that cannot be had from a package registry here, so each of its cases is restated as
 * frames and an expectation, numbered as h2spec numbers them (by sections of RFC 7540 and RFC 7541; RFC 9113 keeps them
 * unless a comment says so). Here: connections, header blocks, streams.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { clientPreface } from '../../../src/host/http2/frames.js';
import {
  CompressionError,
  continuation,
  FrameSizeError,
  get,
  goaway,
  goawayFrame,
  headersBegun,
  open,
  ProtocolError,
  padded,
  ping,
  postBlock,
  priority,
  replaced,
  reset,
  StreamClosed,
  section,
  whole,
  withBlock,
  withFields,
} from './cases.js';
import {
  block,
  dataFrame,
  Flag,
  FrameType,
  frame,
  headersFrame,
  joined,
  Peer,
  rstStreamFrame,
  Setting,
  settingsFrame,
  uint32,
  windowUpdateFrame,
} from './peer.js';

describe('generic/1, http2/3.5: preface', () => {
  it('takes a connection whose preface comes octet by octet, and sends SETTINGS first', () => {
    const peer = new Peer();
    assert.equal(peer.frames()[0]!.type, FrameType.Settings);
    for (const octet of joined([clientPreface, settingsFrame([])])) peer.send(Uint8Array.of(octet));
    assert.equal(peer.expectFrame(FrameType.Settings).flags, Flag.Ack);
    peer.expectAlive();
  });

  it('ends a connection with another preface', () => {
    const peer = new Peer();
    peer.frames();
    peer.send(Uint8Array.from('INVALID CONNECTION PREFACE\r\n\r\n', c => c.charCodeAt(0)));
    peer.expectGoaway(ProtocolError);
  });

  it('ends a connection whose first frame is not SETTINGS, or only an acknowledgement', () => {
    for (const first of [ping(), whole, frame(FrameType.Settings, Flag.Ack, 0)]) {
      const peer = new Peer();
      peer.frames();
      peer.send(clientPreface, first);
      peer.expectGoaway(ProtocolError);
    }
  });
});

section('generic/2: streams', [
  { name: '1 PRIORITY on an idle stream', send: [priority(1, 0), whole], expect: 'response' },
  { name: '2 WINDOW_UPDATE on a half-closed stream', send: [windowUpdateFrame(1, 1)], before: [open], expect: 'alive' },
  {
    name: '2 WINDOW_UPDATE on a stream that was answered',
    send: [windowUpdateFrame(1, 1)],
    before: [whole],
    expect: 'alive',
  },
  { name: '3 PRIORITY on a half-closed stream', send: [whole, priority(1, 0)], expect: 'response' },
  { name: '4 RST_STREAM on a stream that was answered', send: [whole, rstStreamFrame(1, 8)], expect: 'response' },
  { name: '5 PRIORITY on a closed stream', before: [whole], send: [priority(1, 0)], expect: 'alive' },
]);

section('generic/3: frames', [
  { name: '3.1/1 DATA', send: [open, dataFrame(1, true, [1])], expect: 'response' },
  { name: '3.1/2 several DATA', send: [open, dataFrame(1, false, [1]), dataFrame(1, true, [2])], expect: 'response' },
  {
    name: '3.1/3 DATA with padding',
    send: [open, frame(FrameType.Data, Flag.EndStream | Flag.Padded, 1, padded([1, 2], 6))],
    expect: 'response',
  },
  { name: '3.2/1 HEADERS', send: [whole], expect: 'response' },
  {
    name: '3.2/2 HEADERS with padding',
    send: [frame(FrameType.Headers, 0x4 | 0x1 | Flag.Padded, 1, padded(postBlock, 200))],
    expect: 'response',
  },
  {
    name: '3.2/3 HEADERS with priority',
    send: [frame(FrameType.Headers, 0x4 | 0x1 | Flag.Priority, 1, [...uint32(0), 255, ...postBlock])],
    expect: 'response',
  },
  { name: '3.3/1 PRIORITY with weight 1', send: [priority(1, 0, 0), whole], expect: 'response' },
  { name: '3.3/2 PRIORITY with weight 256', send: [priority(1, 0, 255), whole], expect: 'response' },
  { name: '3.3/3 PRIORITY with a dependency', send: [priority(1, 0), priority(3, 1), whole], expect: 'response' },
  { name: '3.3/4 exclusive PRIORITY', send: [priority(3, 0x80000000 + 1), whole], expect: 'response' },
  { name: '3.3/5 PRIORITY on a higher idle stream', send: [priority(3, 1), whole], expect: 'response' },
  { name: '3.4/1 RST_STREAM', before: [open], send: [rstStreamFrame(1, 8)], expect: 'alive' },
  { name: '3.5/1 SETTINGS', send: [settingsFrame([[Setting.MaxConcurrentStreams, 100]])], expect: 'alive' },
  { name: '3.7/1 PING', send: [ping()], expect: 'ping ack' },
  { name: '3.8/1 GOAWAY', send: [goawayFrame(0)], expect: 'closed' },
  { name: '3.8/1 GOAWAY before the last response', send: [open, goawayFrame(0), ping()], expect: 'ping ack' },
  { name: '3.9/1 WINDOW_UPDATE of the connection', send: [windowUpdateFrame(0, 1), whole], expect: 'response' },
  { name: '3.9/2 WINDOW_UPDATE of a stream', send: [open, windowUpdateFrame(1, 1)], expect: 'alive' },
  { name: '3.10/1 CONTINUATION', send: [headersBegun, continuation(Flag.EndHeaders)], expect: 'response' },
  {
    name: '3.10/2 several CONTINUATION',
    send: [headersBegun, continuation(0), continuation(Flag.EndHeaders, 1, block([['x', 'y']]))],
    expect: 'response',
  },
]);

section('generic/4: messages', [
  { name: '1 GET', send: [withFields(get)], expect: 'response' },
  { name: '2 HEAD', send: [withFields(replaced(':method', 'HEAD'))], expect: 'response' },
  { name: '3 POST', send: [open, dataFrame(1, true, [1])], expect: 'response' },
  {
    name: '4 POST with trailers',
    send: [open, dataFrame(1, false, [1]), headersFrame(1, true, [['x-trailer', 'y']])],
    expect: 'response',
  },
]);

section('generic/5: HPACK', [
  ...(
    [
      ['1 indexed field', []],
      ['2 literal, added, indexed name', [0x58, 3, 0x61, 0x62, 0x63]],
      ['3 literal, added, indexed name, Huffman', [0x58, 0x81, 0x1f]],
      ['4 literal, added, new name', [0x40, 1, 0x78, 1, 0x79]],
      ['5 literal, added, new name, Huffman', [0x40, 0x81, 0x1f, 0x81, 0x1f]],
      ['6 literal, not added, indexed name', [0x0f, 0x09, 1, 0x78]],
      ['7 literal, not added, indexed name, Huffman', [0x0f, 0x09, 0x81, 0x1f]],
      ['8 literal, not added, new name', [0x00, 1, 0x78, 1, 0x79]],
      ['9 literal, not added, new name, Huffman', [0x00, 0x81, 0x1f, 0x81, 0x1f]],
      ['10 literal, never indexed, indexed name', [0x1f, 0x09, 1, 0x78]],
      ['11 literal, never indexed, indexed name, Huffman', [0x1f, 0x09, 0x81, 0x1f]],
      ['12 literal, never indexed, new name', [0x10, 1, 0x78, 1, 0x79]],
      ['13 literal, never indexed, new name, Huffman', [0x10, 0x81, 0x1f, 0x81, 0x1f]],
    ] as const
  ).map(([name, extra]) => ({
    name,
    send: [withBlock(0x83, 0x86, 0x84, 0x01, 1, 0x68, ...extra)],
    expect: 'response' as const,
  })),
  { name: '14 table size update', send: [withBlock(0x20, ...postBlock)], expect: 'response' },
  { name: '15 two table size updates', send: [withBlock(0x20, 0x3f, 0xe1, 0x1f, ...postBlock)], expect: 'response' },
]);

section('http2/4.1, 5.5: unknown frames and flags', [
  { name: '4.1/1 unknown type', send: [frame(0xff, 0, 0, [1, 2, 3])], expect: 'alive' },
  {
    name: '4.1/2 undefined flags',
    send: [frame(FrameType.Ping, 0xfe, 0, [1, 2, 3, 4, 5, 6, 7, 8])],
    expect: 'ping ack',
  },
  {
    name: '4.1/3 reserved bit',
    send: [frame(FrameType.Ping, 0, 0x80000000, [1, 2, 3, 4, 5, 6, 7, 8])],
    expect: 'ping ack',
  },
  { name: '5.5/1 extension frame', send: [frame(0x16, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0])], expect: 'alive' },
  {
    name: '5.5/2 extension frame inside a header block',
    send: [headersBegun, frame(0x16, 0, 0, []), continuation(Flag.EndHeaders)],
    expect: goaway(ProtocolError),
  },
]);

const tooLarge = new Array<number>(16_385).fill(0);
section('http2/4.2: frame size', [
  { name: '1 DATA of 2^14 octets', send: [open, dataFrame(1, true, tooLarge.slice(1))], expect: 'response' },
  {
    name: '2 DATA above SETTINGS_MAX_FRAME_SIZE',
    send: [open, dataFrame(1, true, tooLarge)],
    expect: goaway(FrameSizeError),
  },
  {
    name: '3 HEADERS above SETTINGS_MAX_FRAME_SIZE',
    send: [frame(FrameType.Headers, 0x5, 1, tooLarge)],
    expect: goaway(FrameSizeError),
  },
  {
    name: 'the same in a frame whose header was cut in two',
    before: [open, dataFrame(1, true, tooLarge).slice(0, 4)],
    send: [dataFrame(1, true, tooLarge).slice(4, 20)],
    expect: goaway(FrameSizeError),
  },
]);

section('http2/4.3, 6.2, 6.10: header blocks', [
  { name: '4.3/1 invalid block', send: [withBlock(0x40, 1, 0x61, 0x80 | 0x7f)], expect: goaway(CompressionError) },
  { name: '4.3/2 PRIORITY inside a block', send: [headersBegun, priority(1, 0)], expect: goaway(ProtocolError) },
  {
    name: '4.3/3 HEADERS of another stream inside a block',
    send: [headersBegun, headersFrame(3, true)],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.2/1 PRIORITY behind HEADERS without END_HEADERS',
    send: [headersBegun, priority(3, 0)],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.2/2 HEADERS of stream 3 inside a block',
    send: [headersBegun, headersFrame(3, false)],
    expect: goaway(ProtocolError),
  },
  { name: '6.2/3 HEADERS on stream 0', send: [headersFrame(0, true)], expect: goaway(ProtocolError) },
  {
    name: '6.2/4 HEADERS with padding longer than its payload',
    send: [frame(FrameType.Headers, 0x5 | Flag.Padded, 1, [250, ...postBlock.slice(0, 20)])],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.10/1 several CONTINUATION',
    send: [headersBegun, continuation(0), continuation(0x4, 1, [])],
    expect: 'response',
  },
  {
    name: '6.10/2 another frame behind CONTINUATION',
    send: [headersBegun, continuation(0), dataFrame(1, true, [1])],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.10/3 CONTINUATION on stream 0',
    send: [headersBegun, continuation(0x4, 0)],
    expect: goaway(ProtocolError),
  },
  { name: '6.10/4 CONTINUATION behind END_HEADERS', send: [open, continuation(0x4)], expect: goaway(ProtocolError) },
  {
    name: '6.10/5 CONTINUATION behind the last CONTINUATION',
    send: [headersBegun, continuation(0x4), continuation(0x4)],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.10/6 CONTINUATION behind DATA',
    send: [open, dataFrame(1, true, [1]), continuation(0x4)],
    expect: goaway(ProtocolError),
  },
]);

section('http2/5.1: stream states', [
  { name: '1 DATA on an idle stream', send: [dataFrame(1, true, [1])], expect: goaway(ProtocolError) },
  { name: '2 RST_STREAM on an idle stream', send: [rstStreamFrame(1, 8)], expect: goaway(ProtocolError) },
  { name: '3 WINDOW_UPDATE on an idle stream', send: [windowUpdateFrame(1, 100)], expect: goaway(ProtocolError) },
  { name: '4 CONTINUATION on an idle stream', send: [continuation(0x4)], expect: goaway(ProtocolError) },
  {
    name: '11 DATA on a closed stream',
    before: [whole],
    send: [dataFrame(1, true, [1])],
    expect: goaway(StreamClosed),
  },
  { name: '12 HEADERS on a closed stream', before: [whole], send: [whole], expect: goaway(StreamClosed) },
  {
    name: '13 CONTINUATION on a closed stream',
    before: [whole],
    send: [continuation(0x4)],
    expect: goaway(ProtocolError),
  },
  {
    name: '8 DATA after RST_STREAM',
    before: [open, rstStreamFrame(1, 8)],
    send: [dataFrame(1, true, [1])],
    expect: reset(StreamClosed),
  },
  {
    name: '9 HEADERS after RST_STREAM',
    before: [open, rstStreamFrame(1, 8)],
    send: [whole],
    expect: reset(StreamClosed),
  },
  {
    name: '10 CONTINUATION after RST_STREAM',
    before: [open, rstStreamFrame(1, 8)],
    send: [continuation(0x4)],
    expect: goaway(ProtocolError),
  },
  { name: '5.1.1/1 an even stream id', send: [headersFrame(2, true)], expect: goaway(ProtocolError) },
  {
    name: '5.1.1/2 an id below one that was used',
    before: [headersFrame(5, true)],
    send: [headersFrame(3, true)],
    expect: goaway(ProtocolError),
  },
  {
    name: '5.3.1/1 HEADERS that depend on themselves',
    send: [frame(FrameType.Headers, 0x25, 1, [0, 0, 0, 1, 9, ...postBlock])],
    expect: goaway(ProtocolError),
  },
  { name: '5.3.1/2 PRIORITY that depends on itself', send: [priority(1, 1)], expect: goaway(ProtocolError) },
  { name: '5.3.1/2 the same on an open stream', before: [open], send: [priority(1, 1)], expect: reset(ProtocolError) },
  { name: '5.4.1/1 an invalid PING ends the connection', send: [ping([1])], expect: 'closed' },
  { name: '5.4.1/2 an invalid PING is told in a GOAWAY', send: [ping([1])], expect: goaway(FrameSizeError) },
]);

describe('http2/5.1: half-closed (remote), with the response pending', () => {
  for (const [name, bytes, expected] of [
    ['5 DATA', dataFrame(1, true, [1]), reset(StreamClosed)],
    ['6 HEADERS', whole, reset(StreamClosed)],
    ['7 CONTINUATION', continuation(0x4), goaway(ProtocolError)],
  ] as const) {
    it(name, () => {
      const peer = Peer.open();
      peer.send(whole);
      peer.send(bytes);
      if (typeof expected === 'object' && 'reset' in expected) {
        peer.expectReset(1, expected.reset);
        assert.deepEqual(peer.request.resets, [{ cause: 'protocol', code: StreamClosed }]);
      } else {
        peer.expectGoaway(ProtocolError);
        assert.deepEqual(peer.request.resets, [{ cause: 'connection', code: ProtocolError }]);
      }
    });
  }
});

describe('http2/5.1.2: concurrent streams', () => {
  it('1 refuses the stream above the limit, and takes it again when a place is free', () => {
    const peer = Peer.open({ concurrentStreamsMax: 2 });
    peer.send(headersFrame(1, false), headersFrame(3, false), headersFrame(5, false));
    peer.expectReset(5, ErrorCode.RefusedStream);
    peer.requests[0]!.respond();
    peer.send(dataFrame(1, true, [1]));
    peer.frames();
    peer.send(headersFrame(7, false));
    assert.equal(peer.requests.length, 3);
  });
});

section('http2/6.1, 6.3, 6.4: DATA, PRIORITY, RST_STREAM', [
  { name: '6.1/1 DATA on stream 0', send: [dataFrame(0, true, [1])], expect: goaway(ProtocolError) },
  {
    name: '6.1/2 DATA on a stream that is not open',
    before: [whole],
    send: [dataFrame(1, true, [1])],
    expect: goaway(StreamClosed),
  },
  {
    name: '6.1/3 DATA with padding longer than its payload',
    send: [open, frame(0, Flag.Padded, 1, [9, 1, 2])],
    expect: goaway(ProtocolError),
  },
  {
    name: '6.1 DATA without its padding length',
    send: [open, frame(0, Flag.Padded, 1, [])],
    expect: goaway(FrameSizeError),
  },
  { name: '6.1 DATA that is all padding', send: [open, frame(0, Flag.Padded | 1, 1, [2, 0, 0])], expect: 'response' },
  { name: '6.3/1 PRIORITY on stream 0', send: [priority(0, 1)], expect: goaway(ProtocolError) },
  {
    name: '6.3/2 PRIORITY of a wrong size',
    send: [frame(FrameType.Priority, 0, 1, [0, 0, 0, 0])],
    expect: goaway(FrameSizeError),
  },
  { name: '6.4/1 RST_STREAM on stream 0', send: [rstStreamFrame(0, 8)], expect: goaway(ProtocolError) },
  { name: '6.4/2 RST_STREAM on an idle stream', send: [rstStreamFrame(3, 8)], expect: goaway(ProtocolError) },
  {
    name: '6.4/3 RST_STREAM of a wrong size',
    send: [open, frame(FrameType.RstStream, 0, 1, [0, 0, 8])],
    expect: goaway(FrameSizeError),
  },
]);
