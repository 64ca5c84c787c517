import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { PacedSocket, pieceBytes } from '../../../src/host/http2/paced-socket.js';

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
  assert.ok(pieces.every(({ length }) => length <= pieceBytes));
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
