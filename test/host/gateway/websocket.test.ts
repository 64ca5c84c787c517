/**
 * The gateway over websockets: frames in, frames out, the end of the call ends the socket.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, it } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import { base64, Stage, type StageOptions } from './stage.js';

let stage: Stage;
afterEach(() => stage.close());

/** Opens a socket and collects its frames. */
class Client {
  readonly frames: string[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<unknown>;

  constructor(path: string, options: ClientOptions = {}, protocols: string[] = []) {
    this.socket = new WebSocket(`${stage.origin.replace('http', 'ws')}${path}`, protocols, options);
    this.socket.on('message', data => this.frames.push((data as Buffer).toString()));
    this.socket.on('error', () => {});
    this.closed = new Promise(resolve => this.socket.on('close', resolve));
  }

  /** The status that the handshake is answered with; the socket is given up. */
  async handshake(): Promise<number> {
    const status = await new Promise<number>(resolve => {
      this.socket.on('unexpected-response', (_request, response) => resolve(response.statusCode as number));
      this.socket.on('open', () => resolve(101));
    });
    this.socket.terminate();
    await this.closed;
    return status;
  }

  async send(...frames: string[]): Promise<void> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open');
    for (const frame of frames) this.socket.send(frame);
  }

  async receive(count: number): Promise<string[]> {
    while (this.frames.length < count) await once(this.socket, 'message');
    return this.frames;
  }
}

async function begin(options: StageOptions = {}): Promise<void> {
  stage = await Stage.start(options);
}

it('streams both ways, and cancels the call when the client goes', async () => {
  await begin();
  const client = new Client('/v3/lease/keepalive');
  await client.send('{"ID":1}');
  assert.deepEqual(await client.receive(1), ['{"result":{"ID":"1","TTL":"7"}}']);
  await client.send('{"ID":"2"}', '{"ID":"3"}');
  assert.deepEqual((await client.receive(3)).slice(1), [
    '{"result":{"ID":"2","TTL":"7"}}',
    '{"result":{"ID":"3","TTL":"7"}}',
  ]);
  client.socket.close();
  await stage.hears('cancel client');
  assert.ok(!stage.heard.includes('half-close'));
});

it('answers one frame of a unary call with one frame, and closes', async () => {
  await begin();
  const client = new Client('/v3beta/kv/put', {}, ['Bearer', 'to.ken']);
  await client.send('{"value":"YWJj"}');
  assert.equal(await client.closed, 1_000);
  assert.deepEqual(client.frames, ['{"header":{"revision":"3"}}']);
  assert.equal(stage.lastCall.metadata.get('authorization'), 'Bearer to.ken');
  assert.equal(client.socket.protocol, 'Bearer');
});

it('sends errors as frames', async () => {
  await begin();
  const late = new Client('/v3/watch');
  await late.send(`{"create_request":{"key":"${base64('fail')}"}}`);
  await late.closed;
  assert.deepEqual(late.frames, ['{"result":{"created":true}}', '{"error":{"code":5,"message":"gone <for> good"}}']);
  const unknown = new Client('/v3/nope');
  await unknown.closed;
  assert.deepEqual(unknown.frames, ['{"error":"Not Found","message":"Not Found","code":5}']);
  const bad = new Client('/v3/kv/put');
  await bad.send('{"key":1}');
  await bad.closed;
  assert.match(bad.frames[0] ?? '', /"message":"proto: /);
});

/** A client that does not read, and the flood for it has begun. */
async function beginFlood(): Promise<Client> {
  await begin();
  const client = new Client('/v3/watch');
  await once(client.socket, 'open');
  client.socket.pause();
  await client.send(`{"create_request":{"key":"${base64('flood')}"}}`);
  await stage.hears('message');
  return client;
}

it('holds a flood back until its reader takes it', async () => {
  const client = await beginFlood();
  const before = stage.floodMessages;
  assert.ok(before < 1_000);
  client.socket.resume();
  await stage.hears('drain');
  await client.receive(before + 20);
  assert.ok(stage.floodMessages > before);
  client.socket.terminate();
  await stage.hears('cancel client');
});

it('ends a flood whose reader breaks off', async () => {
  await begin();
  const client = new Client('/v3/watch');
  await client.send('{"create_request":{}}');
  await client.receive(1);
  (client.socket as unknown as { _socket: Socket })._socket.resetAndDestroy();
  // The server's side does not know yet: the kernel refuses what is written.
  assert.ok(stage.floodNow() < 100);
  await stage.hears('cancel client');
});

it('refuses frames that are too large', async () => {
  await begin({ receiveBytesMax: 1_000 });
  const client = new Client('/v3/kv/put');
  await client.send('x'.repeat(5_000));
  assert.equal(await client.closed, 1_009);
});

it('lets no page of another origin in, unless --cors names it', async () => {
  await begin({ cors: ['http://friend.example'] });
  const status = (origin?: string): Promise<number> =>
    new Client('/v3/kv/put', origin === undefined ? {} : { origin }).handshake();
  assert.equal(await status('http://evil.example'), 403);
  assert.equal(await status('null'), 403);
  assert.equal(await status('http://friend.example'), 101);
  assert.equal(await status(stage.origin), 101);
  assert.equal(await status(), 101);
});

it('is offered below /v3/ only, to hosts that are allowed, and not without the gateway', async () => {
  const status = (path: string, options: ClientOptions = {}) => new Client(path, options).handshake();
  await begin({ hostWhitelist: ['localhost'] });
  assert.equal(await status('/v3/watch'), 421);
  assert.equal(await status('/watch', { headers: { Host: 'localhost' } }), 404);
  assert.equal(await status('/version', { headers: { Host: 'localhost' } }), 200);
  await stage.close();
  await begin({ gateway: false });
  assert.equal(await status('/v3/watch'), 404);
});

it('answers pings, but not a burst of them', async () => {
  await begin();
  const client = new Client('/v3/lease/keepalive');
  await once(client.socket, 'open');
  const { _socket: socket } = client.socket as unknown as { readonly _socket: Socket };
  const pings = (count: number): void => {
    socket.cork(); // they leave in one piece
    for (let at = 0; at < count; at++) client.socket.ping();
    socket.uncork();
  };
  let pongs = 0;
  client.socket.on('pong', () => {
    pongs += 1;
  });
  pings(8);
  while (pongs < 8) await once(client.socket, 'pong');
  pings(9);
  await client.closed;
  assert.ok(pongs <= 16);
});
