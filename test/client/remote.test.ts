import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { ClosedError, connect, EtcdError } from '../../src/index.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { encode } from '../../src/wire/schema.js';
import { freePorts } from '../support/etcd.js';

const asItIs = (bytes: Buffer): Buffer => bytes;
type Handler = (answer: grpc.sendUnaryData<Buffer>) => void;

/** A gRPC server that answers KV calls as it is told. */
async function startFake(handlers: { Range?: Handler; Put?: Handler }, port = 0) {
  const server = new grpc.Server();
  const methods = Object.keys(handlers) as (keyof typeof handlers)[];
  const definition = Object.fromEntries(
    methods.map(name => [
      name,
      {
        path: `/etcdserverpb.KV/${name}`,
        requestStream: false,
        responseStream: false,
        ...{ requestSerialize: asItIs, requestDeserialize: asItIs },
        ...{ responseSerialize: asItIs, responseDeserialize: asItIs },
      },
    ]),
  );
  const handler = (name: keyof typeof handlers) => (_: unknown, answer: grpc.sendUnaryData<Buffer>) =>
    handlers[name]?.(answer);
  server.addService(definition, Object.fromEntries(methods.map(name => [name, handler(name)])));
  const bound = await promisify(server.bindAsync.bind(server))(
    `127.0.0.1:${port}`,
    grpc.ServerCredentials.createInsecure(),
  );
  return { endpoint: `127.0.0.1:${bound}`, [Symbol.dispose]: () => server.forceShutdown() };
}

const put = encode('etcdserverpb.PutResponse', { header: { revision: 5 } });
const range = encode('etcdserverpb.RangeResponse', { header: { revision: 6 }, count: 3 });
const answerWith =
  (bytes: Uint8Array): Handler =>
  answer =>
    answer(null, Buffer.from(bytes));
const refuse =
  (code: number, details: string): Handler =>
  answer =>
    answer({ code, details });

test('importing the library loads no gRPC package, a call does', async () => {
  const index = new URL('../../src/index.js', import.meta.url).href;
  const script = `
    const { connect } = await import('${index}');
    const { createRequire } = await import('node:module');
    const { cache } = createRequire('${index}');
    const loaded = () => Object.keys(cache).some(path => path.includes('grpc-js'));
    const client = connect({ endpoints: '127.0.0.1:1', connectTimeoutMs: 1 });
    const before = loaded();
    await client.get('a').catch(() => {});
    console.log(before, loaded());
    client.close();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
  });
  assert.equal(stdout.trim(), 'false true');
});

test('the first endpoint that takes connections is used, and the next one when it fails', async () => {
  const [dead] = await freePorts(1);
  const answered: string[] = [];
  const stopped = refuse(GrpcCode.Unavailable, 'etcdserver: server stopped');
  const handler =
    (name: string): Handler =>
    answer => {
      answered.push(name);
      if (name === 'second' && answered.length > 1) stopped(answer);
      else answerWith(put)(answer);
    };
  using second = await startFake({ Put: handler('second') });
  using third = await startFake({ Put: handler('third') });
  using client = connect({ endpoints: [`127.0.0.1:${dead}`, `http://${second.endpoint}/`, third.endpoint] });
  await client.put('a', 'b');
  await assert.rejects(client.put('a', 'b'), { message: 'etcdserver: server stopped' });
  await client.put('a', 'b');
  await client.put('a', 'b');
  assert.deepEqual(answered, ['second', 'second', 'third', 'third']);
});

test('reads are sent again after Unavailable, writes are not, other errors are final', async () => {
  const counts = { range: 0, put: 0 };
  const unavailable = refuse(GrpcCode.Unavailable, 'etcdserver: leader changed');
  using server = await startFake({
    Range: answer => (++counts.range < 3 ? unavailable(answer) : answerWith(range)(answer)),
    Put: answer => {
      counts.put += 1;
      unavailable(answer);
    },
  });
  using client = connect({ endpoints: server.endpoint });
  assert.equal((await client.getAll({ prefix: 'a' })).count, 3);
  assert.equal(counts.range, 3);
  await assert.rejects(client.put('a', 'b'), (error: unknown) => {
    assert.ok(error instanceof EtcdError);
    assert.deepEqual([error.name, error.code, error.message], ['EtcdError', 14, 'etcdserver: leader changed']);
    return true;
  });
  assert.equal(counts.put, 1);
  using strict = await startFake({ Range: refuse(GrpcCode.OutOfRange, 'etcdserver: ü % no') });
  using other = connect({ endpoints: strict.endpoint });
  await assert.rejects(other.get('a'), { code: GrpcCode.OutOfRange, message: 'etcdserver: ü % no' });
});

test('no server: Unavailable with the addresses, after the time to connect', async () => {
  const ports = await freePorts(2);
  using client = connect({ endpoints: ports.map(port => `127.0.0.1:${port}`), connectTimeoutMs: 100 });
  await assert.rejects(client.put('a', 'b'), {
    code: GrpcCode.Unavailable,
    message: new RegExp(`^no connection to 127.0.0.1:${ports[0]}, 127.0.0.1:${ports[1]}: connect ECONNREFUSED \\S+$`),
  });
});

test('a write waits for the first connection', async () => {
  const [port] = await freePorts(1);
  using client = connect({ endpoints: `127.0.0.1:${port}` });
  const answer = client.put('a', 'b');
  using _server = await startFake({ Put: answerWith(put) }, port);
  assert.equal((await answer).revision, 5);
});

test('signal and timeout end a call that gets no answer, and one that gets no connection', async () => {
  using server = await startFake({ Put: () => {} });
  const silent = createServer();
  const sockets: Socket[] = [];
  silent.on('connection', socket => sockets.push(socket));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as { port: number };
  for (const endpoint of [server.endpoint, `127.0.0.1:${port}`]) {
    using client = connect({ endpoints: endpoint });
    const expected = { code: GrpcCode.DeadlineExceeded, message: 'context deadline exceeded' };
    await assert.rejects(client.put('a', 'b', { timeoutMs: 50 }), expected);
    const controller = new AbortController();
    const reason = new Error('enough');
    const call = client.put('a', 'b', { signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(call, reason);
    await assert.rejects(client.put('a', 'b', { signal: controller.signal }), reason);
  }
  for (const socket of sockets) socket.destroy();
  silent.close();
});

test('close ends what is under way, and everything later', async () => {
  const { promise: arrived, resolve: onArrived } = deferred();
  using server = await startFake({ Put: () => onArrived() });
  const client = connect({ endpoints: server.endpoint });
  const call = client.put('a', 'b');
  const watch = client.watch('a');
  await arrived;
  client.close();
  await assert.rejects(call, ClosedError);
  await assert.rejects(watch.created, ClosedError);
  await assert.rejects(client.get('a'), ClosedError);
  await assert.rejects(client.watch('a').batches().next(), ClosedError);
  client.close();
});

test('one signal for many calls and watches is no leak that Node warns of', async () => {
  const [port] = await freePorts(1);
  const warnings: Error[] = [];
  const onWarning = (warning: Error): number => warnings.push(warning);
  process.on('warning', onWarning);
  const { signal } = new AbortController();
  using client = connect({ endpoints: `127.0.0.1:${port}` });
  const calls = Array.from({ length: 40 }, () => client.get('a', { signal, timeoutMs: 4_000 }));
  const watches = Array.from({ length: 40 }, () => client.watch('a', { signal }));
  using _server = await startFake({ Range: answerWith(range) }, port);
  await Promise.all(calls);
  for (const watch of watches) watch.cancel();
  process.off('warning', onWarning);
  assert.deepEqual(warnings, []);
});

test('what is no endpoint is refused at once', () => {
  for (const endpoints of ['', 'ftp://a:1', 'a:b', 'a b:1', [] as string[]]) {
    assert.throws(() => connect({ endpoints }), TypeError);
  }
  connect({ endpoints: 'localhost,[::1]:2379,https://etcd.example:2379/' }).close();
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>(yes => {
    resolve = yes;
  });
  return { promise, resolve };
}
