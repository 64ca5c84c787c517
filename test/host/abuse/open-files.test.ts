/**
 * More connections than the process may have files open. Every listener turns away what is above its share, so that the
 * members can always open what they write, and whoever was in stays in.
 *
 *     ulimit -n 256 -> 150 for the members, 17 for each of three endpoints and three metrics listeners
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from '../../../src/index.js';
import { freePorts } from '../../support/etcd.js';
import { GrpcClient } from '../../support/grpc-client.js';
import { ownDirectory, startServer } from '../../support/server-process.js';

const filesMax = 256;
const knocks = 60;
const command = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));

/** The process that knocks: on every port so often, all of it held until it ends. */
if (process.send !== undefined && process.argv[2] === 'knock') {
  const [metricsPort, ...ports] = process.argv.slice(3).map(Number) as [number, ...number[]];
  const sockets = new Set<Socket>();
  const knock = (port: number): Socket => {
    const socket = connectTcp(port, '127.0.0.1');
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.resume();
    return socket.once('close', () => sockets.delete(socket));
  };
  const silent = Array.from({ length: knocks }, () => knock(metricsPort));
  const settled = ports.flatMap(port =>
    Array.from({ length: knocks }, () => {
      const socket = knock(port);
      socket.once('connect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'));
      // Let in: the server speaks first. Turned away: the end.
      return new Promise(resolve => socket.once('data', resolve).once('close', resolve));
    }),
  );
  while (silent.filter(socket => !socket.destroyed).length > knocks / 2) await new Promise(setImmediate);
  await Promise.all(settled);
  process.send(sockets.size);
} else {
  test('a flood of connections takes no files from the members, and no calls from those who were in', flood);
  test('a limit that leaves nothing for clients ends the start', tooFew);
}

interface Server {
  readonly ports: readonly number[];
  readonly pid: number;
  readonly end: () => Promise<void>;
}

async function start(data: string, metricsPorts: readonly number[], limit = filesMax): Promise<Server> {
  const shell = ['-c', `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath, command];
  const urls = Array.from({ length: 3 }, () => 'http://127.0.0.1:0').join(',');
  const flags = ['--data-dir', data, '--listen-client-urls', urls];
  const metrics = ['--listen-metrics-urls', metricsPorts.map(port => `http://127.0.0.1:${port}`).join(',')];
  const { server, ready } = await startServer('kvorum', '/bin/sh', [...shell, ...flags, ...metrics], line => {
    if (!line.includes('"ready to serve client requests"')) return undefined;
    const { members } = JSON.parse(line) as { members: { endpoint: string }[] };
    return members.map(({ endpoint }) => Number(new URL(endpoint).port));
  });
  return { ports: ready, pid: server.pid, end: () => server.end() };
}

async function flood(t: TestContext): Promise<void> {
  const directory = await ownDirectory('kvorum-files-');
  t.after(() => directory.remove());
  const data = join(directory.path, 'data');
  const metricsPorts = await freePorts(3);
  const [metricsPort] = metricsPorts;
  const server = await start(data, metricsPorts);
  t.after(() => server.end());
  const endpoints = server.ports.map(port => `127.0.0.1:${port}`);
  const good = connect({ endpoints: [endpoints[0] as string] });
  await good.put('before', '1');
  const control = await GrpcClient.connect(endpoints[0] as string);

  const child = fork(import.meta.filename, ['knock', ...[metricsPort, ...server.ports].map(String)]);
  t.after(() => ended(child));
  const [held] = (await once(child, 'message')) as [number];
  assert.ok(held >= 4 * 12 && held <= filesMax - 150, `${held} of ${4 * knocks} were let in`);
  assert.ok(readdirSync(`/proc/${server.pid}/fd`).length <= filesMax - 40, 'files are left');
  // The endpoint is full: a connection ends before anything was said.
  await once(connectTcp(server.ports[1] as number, '127.0.0.1').resume(), 'close');

  // What opens files: log segments, a state that is rewritten, a snapshot.
  const value = 'v'.repeat(500_000);
  for (let count = 0; count < 30; count += 1) await good.put(`key-${count}`, value);
  const { grpcStatus } = await control.unary('/etcdserverpb.Maintenance/Defragment', new Uint8Array());
  assert.equal(grpcStatus, 0);
  let bytes = 0;
  for await (const { bytes: piece } of good.snapshot()) bytes += piece.length;
  assert.ok(bytes > 15_000_000);

  await ended(child);
  const late = connect({ endpoints });
  while ((await late.get('key-29').catch(() => undefined)) === undefined);
  assert.equal((await fetch(`http://127.0.0.1:${metricsPort}/health`)).status, 200);
  good.close();
  control.close();
  late.close();
  await server.end();

  const again = await start(data, metricsPorts);
  t.after(() => again.end());
  const reader = connect({ endpoints: again.ports.map(port => `127.0.0.1:${port}`) });
  assert.equal((await reader.getAll({ prefix: 'key-' }, { countOnly: true })).count, 30);
  reader.close();
}

async function tooFew(): Promise<void> {
  const directory = await ownDirectory('kvorum-files-');
  const refused = start(join(directory.path, 'data'), [0, 0, 0], 120);
  await assert.rejects(refused, /file descriptor limit of this process is too low; please set higher: it is 120/);
  await directory.remove();
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
