/**
 * How many unary calls a second does the HTTP/2 and gRPC layer echo on one thread, beside node:http2?
 *
 *     node dist/bench/http2-echo.js [requests, default 200000]
 *
 * A child process serves, h2load (nghttp2) calls with the bytes of an etcd Put of 100 bytes. Both share the machine, so
 * on two cores a number is what the server does while the client has the other core.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createGrpcListener } from '../src/host/grpc/server.js';

const run = promisify(execFile);
const shapes = [
  { clients: 1, streams: 1 },
  { clients: 1, streams: 100 },
  { clients: 10, streams: 10 },
  { clients: 100, streams: 1 },
  { clients: 100, streams: 10 },
  { clients: 1_000, streams: 1 },
];

/** Echoes with our own layer. */
async function serveOurs(): Promise<number> {
  const listener = createGrpcListener({
    service: call => ({
      message: bytes => call.reply(bytes),
      halfClose: () => {},
      cancel: () => call.end(1, ''),
    }),
  });
  return (await listener.listen('127.0.0.1', 0)).port;
}

/** Echoes with node:http2, as plainly as it can be done. */
async function serveNode(): Promise<number> {
  const server = createServer({ settings: { initialWindowSize: 1_048_576 } });
  server.on('stream', stream => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(parts.length === 1 ? parts[0] : Buffer.concat(parts));
    });
    stream.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Field 1, a key of three bytes; field 2, a value of 100: an etcdserverpb.PutRequest behind gRPC's prefix. */
function putBody(): Uint8Array {
  const message = [0x0a, 3, 0x66, 0x6f, 0x6f, 0x12, 100, ...new Array<number>(100).fill(0x78)];
  return Uint8Array.from([0, 0, 0, 0, message.length, ...message]);
}

async function load(port: number, body: string, requests: number, clients: number, streams: number): Promise<string> {
  const { stdout } = await run('h2load', [
    `-n${requests}`,
    `-c${clients}`,
    `-m${streams}`,
    `-d${body}`,
    '-Hcontent-type: application/grpc',
    '-Hte: trailers',
    `http://127.0.0.1:${port}/etcdserverpb.KV/Put`,
  ]);
  const rate = /finished in [\d.]+\w+, ([\d.]+) req\/s/.exec(stdout)?.[1];
  if (rate === undefined || !stdout.includes(`${requests} succeeded`)) throw new Error(stdout);
  return Number(rate).toFixed(0);
}

async function start(kind: string): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(fileURLToPath(import.meta.url), [kind]);
  const [port] = await once(child, 'message');
  return { child, port };
}

async function compare(requests: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kvorum-bench-'));
  const body = join(directory, 'put.bin');
  await writeFile(body, putBody());
  process.stdout.write('connections x streams |    ours req/s | node:http2 req/s\n');
  const ours = await start('ours');
  const node = await start('node');
  try {
    for (const { clients, streams } of shapes) {
      const count = clients * streams === 1 ? Math.ceil(requests / 10) : requests;
      await load(ours.port, body, Math.ceil(count / 10), clients, streams);
      const rate = await load(ours.port, body, count, clients, streams);
      const other = await load(node.port, body, Math.ceil(count / 4), clients, streams);
      const shape = `${clients} x ${streams}`.padStart(21);
      process.stdout.write(`${shape} | ${rate.padStart(13)} | ${other.padStart(16)}\n`);
    }
  } finally {
    ours.child.kill();
    node.child.kill();
    await rm(directory, { recursive: true });
  }
}

const kind = process.argv[2];
if (kind === 'ours' || kind === 'node') process.send!(await (kind === 'ours' ? serveOurs() : serveNode()));
else await compare(Number(kind ?? 200_000));
