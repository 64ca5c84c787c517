/**
 * The server that is attacked: three members in a process of their own, the last of them behind TLS, and a second port
 * that tells what they hold.
 *
 *     stderr    {"endpoints": ["127.0.0.1:…", …], "control": "127.0.0.1:…"}
 *     GET /     Census: of now, after a collection of garbage, and the most memory since the last question
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import { startCluster } from '../../../src/index.js';

/** What the process holds. */
export interface Census {
  /** Open connections. */
  readonly sockets: number;
  /** Heap and buffers, in bytes; the members' threads included in neither. */
  readonly memoryBytes: number;
  /** The most that was seen of it since the last question, garbage included. */
  readonly peakBytes: number;
}

const sampleMs = 20;

/** Run as the child's program. */
if (process.argv[1] === import.meta.filename) {
  const cluster = await startCluster({
    listenClientUrls: ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'https://127.0.0.1:0'],
    tls: true,
    logLevel: 'error',
  });
  let peakBytes = 0;
  setInterval(() => {
    peakBytes = Math.max(peakBytes, memoryBytes());
  }, sampleMs);
  const control = createServer((_request, response) => {
    void census().then(now => {
      response.setHeader('connection', 'close');
      response.end(JSON.stringify({ ...now, peakBytes } satisfies Census));
      peakBytes = 0;
    });
  });
  await once(control.listen(0, '127.0.0.1'), 'listening');
  const endpoints = cluster.endpoints.map(url => url.replace(/^https?:\/\//, ''));
  const { port } = control.address() as AddressInfo;
  process.stderr.write(`${JSON.stringify({ endpoints, control: `127.0.0.1:${port}` })}\n`);
}

async function census(): Promise<Omit<Census, 'peakBytes'>> {
  for (let round = 0; round < 3; round++) {
    gc?.();
    await nextRound();
  }
  const sockets = process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length;
  return { sockets, memoryBytes: memoryBytes() };
}

function memoryBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
