/**
 * The gateway over real sockets, HTTP/1 and HTTP/2, in front of a made-up service: what every kind of call gets, and
 * what its service hears of the client.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { base64, blobBytes, Stage, type StageOptions } from './stage.js';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

let stage: Stage;
afterEach(() => stage.close());

async function begin(options: StageOptions = {}): Promise<void> {
  stage = await Stage.start(options);
}

/** Opens a request without ending its body. */
function open(path: string, options: RequestOptions = {}): ClientRequest {
  const made = request(`${stage.origin}${path}`, { method: 'POST', agent: false, ...options });
  made.on('error', () => {}); // tests that cut connections see it as 'close'
  return made;
}

async function answerOf(made: ClientRequest): Promise<Answer> {
  const [response] = (await once(made, 'response')) as [IncomingMessage];
  return { status: response.statusCode as number, headers: response.headers, body: await whole(response) };
}

async function whole(readable: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of readable) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** A whole request over HTTP/1. */
function post(path: string, body = '', options: RequestOptions = {}): Promise<Answer> {
  const made = open(path, options);
  const answer = answerOf(made);
  made.end(body);
  return answer;
}

/** The same over HTTP/2, with prior knowledge. */
async function post2(path: string, body = '', fields: Record<string, string> = {}): Promise<Answer> {
  const session = connectHttp2(stage.origin);
  try {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/json', ...fields });
    if (!stream.writableEnded) stream.end(body);
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    return { status: headers[':status'] as number, headers, body: await whole(stream) };
  } finally {
    session.close();
  }
}

const rims = [
  { name: 'HTTP/1', send: post },
  { name: 'HTTP/2', send: (path: string, body?: string) => post2(path, body) },
] as const;

for (const { name, send } of rims) {
  describe(`unary calls over ${name}`, () => {
    it('answer with the message and its headers', async () => {
      await begin();
      const { status, headers, body } = await send('/v3/kv/put', '{"key":"Zm9v","value":"YmFy"}');
      assert.equal(status, 200);
      assert.equal(body, '{"header":{"revision":"3"}}');
      assert.equal(headers['content-type'], 'application/json');
      assert.equal(headers['grpc-metadata-content-type'], 'application/grpc');
      assert.equal(headers['content-length'], String(body.length));
      assert.equal(headers['access-control-allow-origin'], undefined, 'no CORS unless asked for');
      assert.deepEqual(stage.heard, ['open', 'message', 'half-close'].slice(0, stage.heard.length));
      assert.equal(stage.running, 0);
    });

    it('take an empty body as the empty message, and ignore what follows the first object', async () => {
      await begin();
      assert.equal((await send('/v3/kv/put')).body, '{"header":{}}');
      assert.equal((await send('/v3/kv/put', ' \n ')).body, '{"header":{}}');
      assert.equal((await send('/v3/kv/put', '{"value":"YQ=="} garbage {')).body, '{"header":{"revision":"1"}}');
    });

    it('turn every gRPC code into its HTTP status, in a shape that readers of every release understand', async () => {
      await begin();
      const statuses = [499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
      for (const [at, expected] of statuses.entries()) {
        const code = at + 1;
        const { status, body, headers } = await send('/v3/kv/range', `{"key":"${base64('wörds')}","limit":${code}}`);
        assert.equal(status, expected, `code ${code}`);
        assert.deepEqual(JSON.parse(body), { error: 'wörds', code, message: 'wörds' });
        assert.equal(headers['content-type'], 'application/json');
        assert.equal(headers['www-authenticate'], undefined);
      }
      const { headers } = await send('/v3/kv/range', `{"key":"${base64('no token')}","limit":16}`);
      assert.equal(headers['www-authenticate'], 'no token');
    });

    it('refuse bad JSON, other methods and paths that nobody has', async () => {
      await begin();
      const bad = await send('/v3/kv/put', '{"key":1}');
      assert.equal(bad.status, 400);
      assert.match((JSON.parse(bad.body) as { message: string }).message, /^proto: /);
      assert.equal((JSON.parse(bad.body) as { code: number }).code, 3);
      for (const body of ['{"key":', '[]', 'x']) {
        const { status, body: text } = await send('/v3/kv/put', body);
        assert.deepEqual([status, (JSON.parse(text) as { code: number }).code], [400, 3], body);
      }
      const missing = await send('/v3/kv/nope', '{}');
      assert.deepEqual([missing.status, JSON.parse(missing.body).message], [404, 'Not Found']);
      assert.equal((await send('/v3alpha/kv/put', '{}')).body, '404 page not found\n');
      assert.equal((await send('/v3beta/kv/put', '{}')).status, 200);
      assert.equal((await send('//', '{}')).status, 404);
      assert.deepEqual(stage.heard.filter(what => what === 'open').length, 1);
    });

    it('bound a message as gRPC does, however it is written', async () => {
      await begin({ receiveBytesMax: 1_000 });
      const value = (bytes: number) => base64('x'.repeat(bytes));
      assert.equal((await send('/v3/kv/put', `{"value":"${value(990)}"}`)).status, 200);
      const above = await send('/v3/kv/put', `{"value":"${value(998)}"}`);
      assert.equal(above.status, 429);
      const { code, message } = JSON.parse(above.body) as { code: number; message: string };
      assert.deepEqual([code, message], [8, 'grpc: received message larger than max (1001 vs. 1000)']);
      const blanks = await send('/v3/kv/put', `{${' '.repeat(100_000)}}`);
      assert.equal(blanks.status, 429);
      assert.match(blanks.body, /received message larger than max/s);
    });

    it('answer streams line by line, however large the lines', async () => {
      await begin();
      const { status, headers, body } = await send('/v3/maintenance/snapshot', '{}');
      assert.equal(status, 200);
      assert.equal(headers['content-type'], 'application/json');
      const lines = body.split('\n');
      assert.equal(lines.pop(), '');
      const versions = lines.map(line => {
        const { result } = JSON.parse(line) as { result: { version: string; blob: string } };
        assert.equal(Buffer.from(result.blob, 'base64').length, blobBytes);
        return result.version;
      });
      assert.deepEqual(versions, ['1', '2', '3']);
    });

    it('end a stream that fails with its error: as HTTP status before the first message, as a line after it', async () => {
      await begin();
      const watch = (key: string) => `{"create_request":{"key":"${base64(key)}"}}`;
      const early = await send('/v3/watch', watch('refuse'));
      assert.deepEqual([early.status, early.body], [501, '{"error":{"code":12,"message":"no watches today"}}\n']);
      const late = await send('/v3/watch', watch('fail'));
      assert.equal(late.status, 200);
      const failure = '{"error":{"code":5,"message":"gone <for> good"}}';
      assert.equal(late.body, `{"result":{"created":true}}\n${failure}\n`);
      const bad = await send('/v3/lease/keepalive', '{"ID":5} {"ID":x}');
      assert.equal(bad.status, 200);
      assert.match(bad.body, /^{"result":{"ID":"5","TTL":"7"}}\n{"error":{"code":3,"message":"proto: [^\n]*}\n$/);
      await stage.hears('cancel protocol');
    });
  });
}

describe('the gateway’s calls', () => {
  it('carry metadata as etcd’s gateway does', async () => {
    await begin();
    const headers = {
      Authorization: 'Bearer token',
      'Grpc-Metadata-HasLeader': 'true',
      'Grpc-Metadata-Blob-Bin': 'AQI=',
      'Grpc-Metadata-Grpc-Secret': 'x',
      Accept: '*/*',
      'X-Other': 'no',
      'Grpc-Timeout': '5S',
    };
    await post('/v3/kv/put', '{}', { headers });
    const { metadata, deadlineMs, peer, path } = stage.lastCall;
    assert.equal(path, '/etcdserverpb.KV/Put');
    assert.equal(deadlineMs, 5_000);
    assert.equal(peer.address, '127.0.0.1');
    assert.equal(metadata.get('authorization'), 'Bearer token');
    assert.equal(metadata.get('hasleader'), 'true');
    assert.equal(metadata.get('grpcgateway-accept'), '*/*');
    assert.deepEqual([...(metadata.getBytes('blob-bin') ?? [])], [1, 2]);
    assert.deepEqual(metadata.getAll('authorization'), ['Bearer token']);
    for (const name of ['x-other', 'grpc-secret', 'accept', 'grpc-metadata-hasleader', 'grpc-timeout']) {
      assert.equal(metadata.get(name), undefined, name);
      assert.ok(!metadata.names().includes(name), name);
    }
  });

  it('end at their deadline', async () => {
    await begin();
    const never = `{"key":"${base64('never')}"}`;
    const { status, body } = await post('/v3/kv/range', never, { headers: { 'Grpc-Timeout': '30m' } });
    assert.deepEqual([status, JSON.parse(body).message], [504, 'context deadline exceeded']);
    await stage.hears('cancel deadline');
    const bad = await post('/v3/kv/range', never, { headers: { 'Grpc-Timeout': 'soon' } });
    assert.deepEqual([bad.status, JSON.parse(bad.body).message], [400, 'invalid grpc-timeout: soon']);
    assert.equal(stage.calls.length, 1);
  });

  it('are cancelled when their client goes', async () => {
    await begin();
    const waiting = open('/v3/kv/range');
    waiting.end(`{"key":"${base64('never')}"}`);
    await stage.hears('message');
    waiting.destroy();
    await stage.hears('cancel client');

    const session = connectHttp2(stage.origin);
    const stream = session.request({ ':method': 'POST', ':path': '/v3/watch' });
    stream.on('error', () => {});
    stream.write('{"create_request":{}}');
    await once(stream, 'data');
    stage.heard.length = 0;
    stream.close(8);
    await stage.hears('cancel client');
    assert.equal(stage.running, 0);
    session.close();
  });

  it('answer while the request still comes', async () => {
    await begin();
    const made = open('/v3/lease/keepalive');
    made.write('{"ID":');
    made.write('1}');
    const [response] = (await once(made, 'response')) as [IncomingMessage];
    const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const next = async () => String((await chunks.next()).value);
    assert.equal(await next(), '{"result":{"ID":"1","TTL":"7"}}\n');
    made.write('{"ID":"2"}\n');
    assert.equal(await next(), '{"result":{"ID":"2","TTL":"7"}}\n');
    made.end();
    assert.equal((await chunks.next()).done, true);
    assert.deepEqual(stage.heard, ['open', 'message', 'message', 'half-close']);
  });

  it('send one chunk for one message: clients take chunks for lines', async () => {
    await begin();
    const socket = await openSocket();
    socket.write('POST /v3/lease/keepalive HTTP/1.1\r\nHost: x\r\nContent-Length: 24\r\n\r\n{"ID":1}{"ID":2}{"ID":3}');
    const raw = await readUntil(socket, '0\r\n\r\n');
    socket.destroy();
    const lines = [1, 2, 3].map(id => `20\r\n{"result":{"ID":"${id}","TTL":"7"}}\n\r\n`);
    assert.equal(raw.slice(raw.indexOf('\r\n\r\n') + 4), `${lines.join('')}0\r\n\r\n`);
  });

  it('send no more than a slow reader takes', async () => {
    await begin();
    const made = open('/v3/watch');
    made.end(`{"create_request":{"key":"${base64('flood')}"}}`);
    const [response] = (await once(made, 'response')) as [IncomingMessage];
    // Nothing is read: the sockets' buffers fill, then the service is told to wait.
    await settled(() => stage.floodMessages);
    const before = stage.floodMessages;
    assert.ok(before < 1_000, `${before} messages`);
    assert.ok(stage.lastCall.unsentBytes > 0);
    let readBytes = 0;
    for await (const chunk of response) {
      readBytes += (chunk as Buffer).length;
      if (readBytes > 20_000_000) break;
    }
    assert.ok(stage.floodMessages > before);
    assert.ok(stage.heard.includes('drain'));
    await stage.hears('cancel client');
  });

  it('end a flood whose reader breaks off', async () => {
    await begin();
    const made = open('/v3/watch');
    made.write('{"create_request":{}}');
    await once(made, 'response');
    (made.socket as Socket).resetAndDestroy();
    // The server's side does not know yet: the kernel refuses what is written.
    assert.ok(stage.floodNow() < 100);
    await stage.hears('cancel client');
  });

  /** Two connections over HTTP/1 that have been served once; what is written to both now reaches the server together. */
  async function twoConnections(): Promise<[Socket, Socket]> {
    const { port } = new URL(stage.origin);
    const sockets: [Socket, Socket] = [connect(Number(port), '127.0.0.1'), connect(Number(port), '127.0.0.1')];
    for (const socket of sockets) {
      socket.write(putOf('first'));
      await once(socket, 'data');
    }
    return sockets;
  }

  function putOf(value: string): string {
    const body = `{"value":"${base64(value)}"}`;
    return `POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  }

  it('let others be read between the chunks of a long one', async () => {
    await begin();
    const [greedy, polite] = await twoConnections();
    greedy.write(putOf('x'.repeat(100_000)));
    polite.write(putOf('y'));
    await Promise.all([once(greedy, 'data'), once(polite, 'data')]);
    const ports = stage.calls.map(({ peer }) => peer.port);
    assert.deepEqual(ports.slice(2), [polite.localPort, greedy.localPort]);
    greedy.destroy();
    polite.destroy();
  });

  it('let others be read between requests that come all at once', async () => {
    await begin();
    const [greedy, polite] = await twoConnections();
    const requests = 600;
    greedy.write(putOf('x').repeat(requests));
    polite.write(putOf('y'));
    greedy.resume();
    await once(polite, 'data');
    while (stage.calls.length < requests + 3) await stage.hearsNext();
    const ports = stage.calls.slice(2).map(({ peer }) => peer.port);
    const before = ports.indexOf(polite.localPort as number);
    assert.ok(before >= 0 && before < requests / 2, `${before} of the other's came first`);
    greedy.destroy();
    polite.destroy();
  });

  it('are served one at a time on a connection, as Go’s server does it', async () => {
    await begin();
    const [hasty, polite] = await twoConnections();
    const never = JSON.stringify({ key: base64('never') });
    const range = `POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${never.length}\r\n\r\n${never}`;
    hasty.write(`${range}${range}`);
    for (let turn = 0; turn < 10; turn++) {
      polite.write(putOf('y'));
      await once(polite, 'data');
    }
    assert.equal(stage.calls.filter(({ peer }) => peer.port === hasty.localPort).length, 2); // one of `twoConnections`
    hasty.destroy();
    polite.destroy();
    await stage.hears('cancel client');
  });

  it('leave the connection fit for the next request', async () => {
    await begin({ receiveBytesMax: 1_000 });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (const [path, body, expected] of [
      ['/v3/kv/put', '{"value":"YQ=="} and more', 200],
      ['/v3/kv/put', '{"value":1}', 400],
      ['/v3/kv/put', `{"value":"${'a'.repeat(200_000)}"}`, 429],
      ['/nowhere', 'x'.repeat(200_000), 404],
      ['/version', '', 405],
      ['/v3/kv/put', '{}', 200],
    ] as const) {
      const { status } = await post(path, body, { agent });
      assert.equal(status, expected, path);
    }
    const ports = new Set(stage.calls.map(call => call.peer.port));
    assert.equal(ports.size, 1);
    agent.destroy();
  });

  it('end the connection at once when a body is said to be long that nobody wants', async () => {
    await begin({ receiveBytesMax: 1_000 });
    const [client] = await twoConnections();
    let text = '';
    client.on('data', (part: Buffer) => {
      text += part.toString();
    });
    client.write('POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n');
    await once(client, 'end');
    assert.match(text, /^HTTP\/1\.1 404 .*\r\nConnection: close\r\n/s);
    client.destroy();
  });

  it('end the connection when the rest of a body that nobody wants is long', async () => {
    await begin({ receiveBytesMax: 1_000 });
    const [client] = await twoConnections();
    const body = `{"value":"${'a'.repeat(50_000_000)}"}`;
    const chunk = `${body.length.toString(16)}\r\n${body}`;
    client.write(`POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`);
    let text = '';
    client.on('data', (part: Buffer) => {
      text += part.toString();
    });
    await once(client, 'end');
    assert.match(text, /^HTTP\/1\.1 429 .*received message larger than max/s);
    assert.ok(client.writableLength > 30_000_000, `${client.writableLength} bytes were not taken`);
    client.destroy();
  });
});

describe('the rest of plain HTTP', () => {
  it('serves /version and /health over both protocols', async () => {
    await begin();
    const expected = '{"etcdserver":"3.6.14","etcdcluster":"not_decided","storage":"unknown"}';
    assert.equal((await post('/version', '', { method: 'GET' })).body, expected);
    assert.equal((await post2('/version', '', { ':method': 'GET' })).body, expected);
    assert.equal((await post('/health', '', { method: 'GET' })).status, 503);
    const refused = await post2('/health');
    assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET']);
    const head = await post2('/version', '', { ':method': 'HEAD' });
    assert.deepEqual([head.status, head.body], [405, '']);
  });

  it('serves a request that asks for an upgrade nobody offers, body and all', async () => {
    await begin();
    const upgrade = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
    const socket = await openSocket();
    const first = `POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n${upgrade}\r\n{"value":`;
    await new Promise(resolve => socket.write(first, resolve));
    socket.write('"YQ=="}');
    assert.match(await readUntil(socket, '}}'), /^HTTP\/1.1 200 OK\r\n[\s\S]*{"header":{"revision":"1"}}$/);
    socket.write(`GET /version HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`);
    assert.match(await readUntil(socket, '"}'), /200 OK/);
    socket.destroy();
  });

  it('adds CORS headers for whom --cors names', async () => {
    const asked = async (origin: string | undefined) => {
      const { headers, status } = await post('/v3/kv/put', '{}', {
        method: 'OPTIONS',
        ...(origin === undefined ? {} : { headers: { Origin: origin } }),
      });
      assert.equal(status, 200);
      return headers['access-control-allow-origin'];
    };
    await begin({ cors: ['*'] });
    assert.equal(await asked(undefined), '*');
    assert.equal(
      (await post('/v3/kv/put', '{}')).headers['access-control-allow-methods'],
      'POST, GET, OPTIONS, PUT, DELETE',
    );
    assert.equal((await post2('/nope')).headers['access-control-allow-headers'], 'accept, content-type, authorization');
    await stage.close();
    await begin({ cors: ['http://a.example', 'http://b.example'] });
    assert.equal(await asked('http://b.example'), 'http://b.example');
    assert.equal(await asked('http://c.example'), undefined);
    assert.equal(await asked(undefined), undefined);
    await stage.close();
    await begin();
    assert.equal(await asked('http://b.example'), undefined);
  });

  it('turns away hosts that --host-whitelist does not name', async () => {
    await begin({ hostWhitelist: ['etcd.example', '::1'] });
    for (const [host, expected] of [
      ['etcd.example', 200],
      ['etcd.example:2379', 200],
      ['[::1]:2379', 200],
      ['evil.example', 421],
      ['etcd.example.evil', 421],
    ] as const) {
      const { status, headers } = await post('/v3/kv/put', '{}', { headers: { Host: host } });
      assert.equal(status, expected, host);
      if (status === 421) assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
      assert.equal((await post2('/v3/kv/put', '{}', { ':authority': host })).status, expected, host);
    }
  });

  it('has no gateway with --enable-grpc-gateway=false', async () => {
    await begin({ gateway: false });
    const { status, body } = await post('/v3/kv/put', '{}');
    assert.deepEqual([status, body], [404, '404 page not found\n']);
  });

  it('still refuses gRPC that is none', async () => {
    await begin();
    const refused = await post2('/v3/kv/put', '', { 'content-type': 'application/grpc-web' });
    assert.equal(refused.status, 415);
  });
});

async function openSocket(): Promise<Socket> {
  const socket = connect(Number(new URL(stage.origin).port), '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  return socket;
}

async function readUntil(socket: Socket, end: string): Promise<string> {
  let text = '';
  while (!text.endsWith(end)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    text += chunk.toString();
  }
  return text;
}

/** Waits until a number has stayed the same through many rounds of the event loop. */
async function settled(value: () => number): Promise<void> {
  let last = -1;
  for (let same = 0; same < 200; same++) {
    if (value() !== last) same = 0;
    last = value();
    await new Promise(resolve => setImmediate(resolve));
  }
}
