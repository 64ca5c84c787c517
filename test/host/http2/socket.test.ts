/**
 * The rim on real sockets: node:http2 and nghttp2's tools as clients, HTTP/1 on the same port, peers that stall or go.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, constants } from 'node:http2';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { setImmediate as nextRound } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ErrorCode } from '../../../src/host/http2/error-codes.js';
import { clientPreface } from '../../../src/host/http2/frames.js';
import { http2LimitsDefault } from '../../../src/host/http2/limits.js';
import { requirePeer } from '../../support/peers.js';
import { Fixture } from './listener-fixture.js';
import {
  dataFrame,
  type Frame,
  FrameType,
  frame,
  headersFrame,
  parseFrames,
  rstStreamFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './peer.js';

async function exchange(session: ClientHttp2Session, path: string, body: Buffer): Promise<Buffer> {
  const request = session.request({ ':method': 'POST', ':path': path });
  request.end(body);
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('node:http2 as a client', () => {
  it('gets back what it sent, on many streams at once, of all sizes', async t => {
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    const sizes = [0, 1, 5, 100, 16_384, 16_385, 65_535, 65_536, 1_000_000, 3_000_000];
    const bodies = [...sizes, ...Array.from({ length: 200 }, (_, index) => index * 37)].map(size => randomBytes(size));
    const echoes = await Promise.all(bodies.map(body => exchange(session, '/echo', body)));
    assert.deepEqual(echoes.map(digest), bodies.map(digest));
    assert.equal(fixture.listener.connections, 1);
    assert.equal(fixture.listener.handlers, 0);
  });

  it('gets a response of many megabytes, and small ones beside it', async t => {
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    const large = exchange(session, '/zeros/50000000', Buffer.alloc(0));
    for (let turn = 0; turn < 20; turn += 1)
      assert.equal((await exchange(session, '/echo', Buffer.from('x'))).length, 1);
    assert.equal((await large).length, 50_000_000);
  });

  it('understands headers, trailers and octets above 127 as they were sent', async t => {
    const fixture = await Fixture.start(t);
    const request = fixture.session(t).request({ ':method': 'POST', ':path': '/echo', 'x-octets': '\x80\xe4\xff' });
    const trailers = once(request, 'trailers');
    const [headers] = await once(request.end(), 'response');
    assert.equal(headers[':status'], 200);
    request.resume();
    assert.equal((await trailers)[0]['grpc-status'], '0');
  });

  it('may cancel, or go: the receivers hear it', async t => {
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    const request = session.request({ ':method': 'POST', ':path': '/never' });
    request.on('error', () => {});
    await exchange(session, '/echo', Buffer.alloc(1));
    request.close(constants.NGHTTP2_CANCEL);
    await exchange(session, '/echo', Buffer.alloc(1));
    assert.deepEqual(fixture.resets, ['peer']);
    session.request({ ':method': 'POST', ':path': '/never' }).on('error', () => {});
    await exchange(session, '/echo', Buffer.alloc(1));
    assert.equal(fixture.listener.handlers, 1);
    const other = fixture.session(t);
    await exchange(other, '/echo', Buffer.alloc(1));
    session.destroy();
    while (fixture.listener.connections > 1) await exchange(other, '/echo', Buffer.alloc(1));
    assert.deepEqual(fixture.resets, ['peer', 'connection']);
    assert.equal(fixture.listener.handlers, 0);
  });
});

describe('a listener that was closed', () => {
  it('leaves no timer of its connections behind', async t => {
    const timersOf = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length;
    const timersBefore = timersOf();
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    await exchange(session, '/echo', Buffer.alloc(1));
    session.request({ ':method': 'POST', ':path': '/never' }).on('error', () => {});
    await exchange(session, '/echo', Buffer.alloc(1));
    await fixture.listener.close(0);
    // What a connection still writes is written in the round after.
    for (let round = 0; round < 3; round += 1) await new Promise(resolve => setImmediate(resolve));
    assert.equal(timersOf(), timersBefore);
  });
});

describe('the same port', () => {
  it('speaks HTTP/1, keeps such connections alive, and takes them octet by octet', async t => {
    const fixture = await Fixture.start(t);
    for (let turn = 0; turn < 3; turn += 1) {
      const response = await fetch(`${fixture.origin}/path`, { method: 'PUT', body: 'x'.repeat(100_000) });
      assert.equal(await response.text(), 'PUT /path 100000');
    }
    for (const [request, answer] of [
      [
        'POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx',
        /^HTTP\/1\.1 200 [\s\S]*POST \/a 1/,
      ],
      ['PRI', /^HTTP\/1\.1 400 /], // and then the end: as far as it goes, the preface
    ] as const) {
      const socket = fixture.socket(t);
      for (const octet of request) await new Promise(resolve => socket.write(octet, resolve));
      if (request === 'PRI') socket.write('NT / HTTP/1.1\r\n\r\n');
      let text = '';
      for await (const chunk of socket) text += (chunk as Buffer).toString('latin1');
      assert.match(text, answer);
    }
    assert.equal(await (await fetch(`${fixture.origin}/b`, { method: 'POST' })).text(), 'POST /b 0');
    assert.equal(fixture.listener.connections, 0);
  });

  it('does not wait for ever for the head of an HTTP/1 request', async t => {
    const fixture = await Fixture.start(t);
    const socket = fixture.socket(t);
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n');
    let text = '';
    for await (const chunk of socket) text += (chunk as Buffer).toString('latin1');
    assert.match(text, /^HTTP\/1\.1 408 /);
  });

  it('closes what is neither when nobody serves HTTP/1', async t => {
    const fixture = await Fixture.start(t, {}, false);
    const socket = fixture.socket(t);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await once(socket.resume(), 'close');
  });

  it('does not wait long for a first word, nor for the rest of it', async t => {
    const fixture = await Fixture.start(t, { prefaceTimeoutMs: 50 });
    for (const first of ['', 'PRI * HT']) {
      const socket = fixture.socket(t);
      if (first !== '') socket.write(first);
      await once(socket.resume(), 'close');
    }
  });
});

describe('a peer that does not read', () => {
  const open = (socket: Socket) => {
    socket.write(clientPreface);
    socket.write(settingsFrame([[Setting.InitialWindowSize, 2 ** 31 - 1]]));
    socket.write(windowUpdateFrame(0, 2 ** 31 - 1 - 65_535));
  };

  it('holds up its own answers only, and gets them all when it reads again', async t => {
    const fixture = await Fixture.start(t);
    const socket = fixture.socket(t);
    socket.pause();
    open(socket);
    const zeros = headersFrame(1, true, [
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', '/zeros/60000000'],
    ]);
    socket.write(zeros);
    const other = fixture.session(t);
    for (let turn = 0; turn < 50; turn += 1) await exchange(other, '/echo', Buffer.from('x'));
    let received = 0;
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > 60_000_000) socket.destroy();
    });
    socket.resume();
    await once(socket, 'close');
    assert.ok(received > 60_000_000);
  });

  it('is not read from either: its pings wait in its own socket', async t => {
    const fixture = await Fixture.start(t, { outputBytesMax: 64 * 1_024, pingsBurst: 10_000_000 });
    const socket = fixture.socket(t);
    socket.pause();
    open(socket);
    const pings = Buffer.concat(Array.from({ length: 4_000 }, () => frame(FrameType.Ping, 0, 0, new Uint8Array(8))));
    let taken = 0;
    while (socket.write(pings) || socket.writableLength < 4 * pings.length) {
      taken += 1;
      assert.ok(taken < 2_000, 'the server took more than any socket buffer holds');
      await new Promise(resolve => setImmediate(resolve));
    }
    await exchange(fixture.session(t), '/echo', Buffer.from('x'));
    assert.ok(socket.writableLength > 0);
    socket.resume();
    await once(socket, 'drain');
  });
});

it('a peer that attacks loses its connection, and its neighbours lose nothing', async t => {
  const fixture = await Fixture.start(t);
  const neighbour = fixture.session(t);
  const attacker = fixture.socket(t);
  attacker.write(Buffer.concat([clientPreface, settingsFrame([])]));
  const attack = Array.from({ length: 3_000 }, (_, index) =>
    Buffer.concat([headersFrame(2 * index + 1, false), rstStreamFrame(2 * index + 1, 8)]),
  );
  attacker.write(Buffer.concat(attack));
  const [echoes, last] = await Promise.all([
    Promise.all(Array.from({ length: 50 }, () => exchange(neighbour, '/echo', Buffer.from('x')))),
    lastFrame(attacker),
  ]);
  assert.ok(echoes.every(echo => echo.length === 1));
  assert.deepEqual([last.type, last.payload[7]], [FrameType.Goaway, ErrorCode.EnhanceYourCalm]);
  assert.ok(fixture.resets.length <= http2LimitsDefault.resetsBurst + 100, `${fixture.resets.length} streams`);
  assert.equal(fixture.listener.handlers, 0);
});

/** The last frame that comes before the other end closes. */
async function lastFrame(socket: Socket): Promise<Frame> {
  const parts: Buffer[] = [];
  for await (const part of socket) parts.push(part as Buffer);
  return parseFrames(Buffer.concat(parts)).at(-1)!;
}

/** The head of a POST that a peer writes by hand. */
function postHead(streamId: number, path: string, endStream: boolean): Uint8Array {
  return headersFrame(streamId, endStream, [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
  ]);
}

describe('a peer that sends without end', () => {
  it('is read by the chunk, and others between', async t => {
    const fixture = await Fixture.start(t);
    const [greedy, polite] = [await fixture.open(t), await fixture.open(t)];
    const flood = Array.from({ length: 20_000 }, (_, at) => postHead(2 * at + 1, '/greedy', true));
    greedy.write(Buffer.concat(flood));
    greedy.resume();
    // All of both is in the kernel before the server reads the first octet.
    polite.write(postHead(1, '/polite', true));
    await once(polite, 'data');
    const bytesBefore = fixture.paths.indexOf('/polite') * (flood[0] as Uint8Array).length;
    assert.ok(bytesBefore <= 2 * 64 * 1024, `${bytesBefore} bytes of the other came first`);
  });

  it('gets its share of the loop for what it uploads, and no more', async t => {
    const fixture = await Fixture.start(t);
    const uploader = await fixture.open(t);
    t.mock.timers.enable({ apis: ['setTimeout'] }); // a rest that has begun does not end by itself
    let nowMs = performance.now();
    t.mock.method(performance, 'now', () => {
      nowMs += 0.02; // a machine that is busy with other things would be rest enough
      return nowMs;
    });
    const frames = Array.from({ length: 1_000 }, () => dataFrame(1, false, new Uint8Array(16_384)));
    uploader.write(Buffer.concat([postHead(1, '/costly', false), ...frames]));
    // A chunk a round would have brought all of it several times over.
    for (let round = 0; round < 2_000; round++) await nextRound();
    const socket = fixture.sockets[0] as Socket;
    assert.ok(socket.bytesRead < 8_000_000, `${socket.bytesRead} bytes were read`);
    while (socket.bytesRead < 16_000_000) {
      t.mock.timers.tick(100);
      await nextRound();
    }
  });

  it('is not held up when what it sends are calls', async t => {
    const fixture = await Fixture.start(t);
    const caller = await fixture.open(t);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const calls = Array.from({ length: 10_000 }, (_, at) => [
      headersFrame(2 * at + 1, false),
      dataFrame(2 * at + 1, true, new Uint8Array(300)),
    ]).flat();
    caller.write(Buffer.concat(calls));
    const neighbour = fixture.session(t);
    while (fixture.paths.length < 10_000) await exchange(neighbour, '/echo', Buffer.from('x'));
  });
});

describe('closing', () => {
  it('lets a running call end, then the connection', async t => {
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    const request = session.request({ ':method': 'POST', ':path': '/echo' });
    request.write('half');
    await exchange(session, '/echo', Buffer.alloc(1));
    const goaway = once(session, 'goaway');
    const closed = fixture.listener.close(60_000);
    await goaway;
    request.end('whole');
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    assert.equal(Buffer.concat(parts).toString(), 'halfwhole');
    await closed;
    assert.equal(fixture.listener.connections, 0);
  });

  it('does not wait for idle connections of HTTP/1', async t => {
    const fixture = await Fixture.start(t);
    const socket = fixture.socket(t);
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 200 /);
    await fixture.listener.close(2 ** 31 - 1);
  });

  it('cuts what does not end in time, HTTP/1 included', async t => {
    const fixture = await Fixture.start(t);
    const session = fixture.session(t);
    session.request({ ':method': 'POST', ':path': '/never' }).on('error', () => {});
    await exchange(session, '/echo', Buffer.alloc(1));
    const http1 = fixture.socket(t);
    http1.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n');
    await exchange(session, '/echo', Buffer.alloc(1));
    await fixture.listener.close(20);
    assert.deepEqual(fixture.resets, ['connection']);
    assert.equal(fixture.listener.connections, 0);
    assert.equal(fixture.listener.handlers, 0);
  });

  it('tells a peer that broke the rules why, before the socket closes', async t => {
    const fixture = await Fixture.start(t);
    const socket = fixture.socket(t);
    socket.write(Buffer.concat([clientPreface, settingsFrame([]), dataFrame(0, true, [1])]));
    const last = await lastFrame(socket);
    assert.equal(last.type, FrameType.Goaway);
    assert.equal(String.fromCharCode(...last.payload.subarray(8)), 'DATA on stream 0');
  });

  it('reads little of what comes behind the end, and the peer still hears why', async t => {
    const fixture = await Fixture.start(t, { lingerTimeoutMs: 100 });
    const socket = fixture.socket(t);
    const closed = new Promise<void>(resolve => {
      socket.on('close', resolve);
    });
    const parts: Buffer[] = [];
    socket.on('data', (part: Buffer) => parts.push(part));
    socket.on('error', () => undefined); // it still writes when the other end has gone
    const wrong = dataFrame(0, true, [1]);
    socket.write(Buffer.concat([clientPreface, settingsFrame([]), postHead(1, '/echo', false), wrong]));
    for (let megabytes = 0; megabytes < 64; megabytes++) socket.write(Buffer.alloc(1024 * 1024));
    await closed;
    assert.equal(parseFrames(Buffer.concat(parts)).at(-1)!.type, FrameType.Goaway);
    const { bytesRead } = fixture.sockets[0] as Socket;
    assert.ok(bytesRead < 1024 * 1024, `${bytesRead} bytes were read`);
  });
});

describe('tools of nghttp2', () => {
  const run = promisify(execFile);

  it('h2load: every request succeeds', async t => {
    const command = requirePeer(t, 'h2load');
    if (command === undefined) return;
    const fixture = await Fixture.start(t);
    const { stdout } = await run(command, ['-n3000', '-c10', '-m20', '-H:method: POST', `${fixture.origin}/zeros/100`]);
    assert.match(stdout, /3000 succeeded, 0 failed, 0 errored/);
  });

  it('h2load: narrow windows and a small header table', async t => {
    const command = requirePeer(t, 'h2load');
    if (command === undefined) return;
    const fixture = await Fixture.start(t);
    for (const options of [['-w10'], ['-W10'], ['--header-table-size=0'], ['--encoder-header-table-size=0']]) {
      const { stdout } = await run(command, ['-n200', '-c2', '-m10', ...options, `${fixture.origin}/zeros/50000`]);
      assert.match(stdout, /200 succeeded, 0 failed, 0 errored/, options.join(' '));
    }
  });

  it('nghttp: many requests with padding, continuation and priorities', async t => {
    const command = requirePeer(t, 'nghttp');
    if (command === undefined) return;
    const fixture = await Fixture.start(t, { headerListBytesMax: 65_536, headerBlockBytesMax: 65_536 });
    const { stdout } = await run(command, ['-nv', '-m5', '-b200', '--continuation', `${fixture.origin}/zeros/1000`]);
    assert.equal(stdout.match(/:status: 200/g)?.length, 5);
    assert.doesNotMatch(stdout, /recv RST_STREAM/);
  });
});
