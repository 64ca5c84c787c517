import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { headPieceBytes, PacedSocket } from '../../../src/host/http2/paced-socket.js';

/** A client's socket, and the server's end of it, paced. */
async function pair(t: TestContext): Promise<[Socket, PacedSocket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [socket] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return [client, new PacedSocket(socket)];
}

test('octets come in small pieces, in their order, and the end behind them', async t => {
  const [client, paced] = await pair(t);
  const sent = randomBytes(1_000_000);
  client.end(sent);
  const pieces: Buffer[] = [];
  paced.on('data', (piece: Buffer) => pieces.push(piece));
  await once(paced, 'end');
  assert.ok(Buffer.concat(pieces).equals(sent));
  assert.ok(pieces.every(({ length }) => length <= headPieceBytes));
});

test('what is written leaves before the socket closes', async t => {
  const [client, paced] = await pair(t);
  const answer = randomBytes(3_000_000);
  paced.cork();
  for (let at = 0; at < answer.length; at += 100_000) paced.write(answer.subarray(at, at + 100_000));
  paced.uncork();
  paced.destroySoon();
  const parts: Buffer[] = [];
  for await (const part of client) parts.push(part as Buffer);
  assert.ok(Buffer.concat(parts).equals(answer));
  assert.equal(paced.bytesWritten, answer.length);
  if (!paced.closed) await once(paced, 'close');
});

test('a socket that is given back brings along what was not handed on', async t => {
  const [client, paced] = await pair(t);
  const sent = randomBytes(100_000);
  client.end(sent);
  const [first] = (await once(paced, 'data')) as [Buffer];
  paced.pause();
  const parts = [first];
  for (let piece = paced.read() as Buffer | null; piece !== null; piece = paced.read() as Buffer | null)
    parts.push(piece);
  parts.push(paced.release());
  for await (const part of paced.socket) parts.push(part as Buffer);
  assert.ok(Buffer.concat(parts).equals(sent));
});

test('a connection that breaks ends it with the error', async t => {
  const [client, paced] = await pair(t);
  paced.resume();
  client.resetAndDestroy();
  const [error] = (await once(paced, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  assert.ok(paced.destroyed && paced.socket.destroyed);
});

test('while a few requests of odd pieces have no answer, no further piece comes; bodies come in larger ones', async t => {
  const [client, paced] = await pair(t);
  client.write(Buffer.alloc(100 * headPieceBytes));
  let pieces = 0;
  paced.on('data', () => {
    pieces += 1;
    paced.begun({ complete: true }, 0);
  });
  while (pieces < 8) await once(paced, 'data');
  await roundTrips(t);
  assert.equal(pieces, 8);
  const next = once(paced, 'data');
  paced.answered();
  await next;
  assert.equal(pieces, 9);
  paced.removeAllListeners('data');
  paced.begun({ complete: false }, 0);
  const bytes: Buffer[] = [];
  paced.on('data', (piece: Buffer) => bytes.push(piece));
  paced.answered();
  paced.answered();
  while (Buffer.concat(bytes).length < 91 * headPieceBytes) await once(paced, 'data');
  assert.ok(bytes.some(({ length }) => length > headPieceBytes));
});

/** Round trips of another connection over the same loop: whatever one socket was about to hand on has come. */
async function roundTrips(t: TestContext): Promise<void> {
  const [other, otherPaced] = await pair(t);
  otherPaced.pipe(otherPaced);
  for (let trip = 0; trip < 10; trip++) {
    other.write('x');
    await once(other, 'data');
  }
}

test('a request behind another is handed on when that has its answer', async t => {
  const [client, paced] = await pair(t);
  const heads = Array.from({ length: 3 }, (_, at) => `GET /${at} HTTP/1.1\r\nHost: a\r\n\r\n`);
  const pieces: string[] = [];
  paced.on('data', (piece: Buffer) => {
    pieces.push(piece.toString());
    paced.begun({ complete: true }, 0);
  });
  client.write(heads.join(''));
  await roundTrips(t);
  assert.deepEqual(pieces, heads.slice(0, 1));
  paced.answered();
  await roundTrips(t);
  assert.deepEqual(pieces, heads.slice(0, 2));
  client.end(); // whoever goes is heard of, and needs no further answer
  await once(paced, 'end');
  assert.equal(pieces.length, 2);
});

test('a body comes with its head, and what is behind it as a piece of its own', async t => {
  const [client, paced] = await pair(t);
  const head = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n';
  const chunks = '1\r\nx\r\n0\r\n\r\n';
  const bodies: { complete: boolean }[] = [];
  const turns: string[][] = [];
  paced.on('data', (piece: Buffer) => {
    if (piece.toString() === chunks) {
      bodies.at(-1)!.complete = true;
      paced.answered();
      turns.at(-1)!.push('body');
      return;
    }
    assert.equal(piece.toString(), head);
    const turn = ['head'];
    turns.push(turn);
    setImmediate(() => turn.push('next turn'));
    bodies.push({ complete: false });
    paced.begun(bodies.at(-1)!, 0);
  });
  client.end((head + chunks).repeat(3));
  await once(paced, 'end');
  await new Promise(resolve => setImmediate(resolve));
  assert.deepEqual(turns, new Array(3).fill(['head', 'body', 'next turn']));
});

test('a socket that was given back is resumed by nobody but its owner', async t => {
  const [client, paced] = await pair(t);
  paced.once('data', () => paced.release());
  client.write('x');
  await once(paced, 'data');
  paced.resume();
  await roundTrips(t);
  assert.ok(paced.socket.isPaused());
});

test('a deaf socket reads no more, and lets what was written leave', async t => {
  const [client, paced] = await pair(t);
  const answer = randomBytes(100_000);
  let read = 0;
  paced.on('data', (piece: Buffer) => {
    read += piece.length;
    paced.write(answer);
    paced.deafen(1_000_000);
    paced.destroySoon();
  });
  client.write(Buffer.alloc(1_000_000));
  const parts: Buffer[] = [];
  for await (const part of client) parts.push(part as Buffer);
  assert.ok(Buffer.concat(parts).equals(answer));
  assert.ok(read <= headPieceBytes);
  paced.destroy();
});
