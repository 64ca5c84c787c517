/**
 * The load generator counts what it should: a benchmark that takes failures for successes is worse than none.
 *
 * Its peer here is node:http2, whose HPACK encoder is another one than those of the servers it is pointed at.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { LoadConnection } from '../../src/load/connection.js';
import { Histogram } from '../../src/load/histogram.js';
import { keyOf, requestTemplate } from '../../src/load/requests.js';
import { decodeMessage } from '../support/messages.js';

interface Run {
  readonly counts: Map<number, number>;
  readonly keys: string[];
  readonly calls: number;
}

test('every call carries its own key, and every answer is counted by its grpc-status', async () => {
  // Statuses with digits of either length in HPACK's Huffman code, and a text that is another one every time.
  const statuses = [0, 0, 3, 14, 0, 9, 16];
  const { counts, keys, calls } = await generate(statuses, statuses.length * 100);
  assert.deepEqual(keys.slice(0, 3), [keyOf(0), keyOf(1), keyOf(2)]);
  assert.equal(new Set(keys).size, calls);
  const expected = new Map<number, number>();
  for (let call = 0; call < calls; call++) {
    const status = statuses[call % statuses.length]!;
    expected.set(status, (expected.get(status) ?? 0) + 1);
  }
  assert.deepEqual(counts, expected);
});

test('a broken connection ends the run', async () => {
  await assert.rejects(
    generate([0], 10, stream => stream.session?.destroy()),
    /^Error: 127\.0\.0\.1:\d+: /,
  );
});

test('a histogram keeps latencies to within two percent', () => {
  const histogram = new Histogram();
  for (let i = 1; i <= 100_000; i++) histogram.record(i / 100);
  for (const share of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999]) {
    const exact = share * 1000;
    const kept = histogram.quantile(share);
    assert.ok(kept >= exact && kept <= exact * 1.02, `${share}: ${kept} for ${exact}`);
  }
  const { mean, max } = histogram.summary();
  assert.ok(Math.abs(mean - 500.005) < 0.01);
  assert.equal(max, 1000);
});

/** Generates puts until `calls` have ended; the server answers with the statuses in turn, or as `answer` says. */
async function generate(
  statuses: readonly number[],
  calls: number,
  answer: (stream: ServerHttp2Stream, call: number) => void = answerWith(statuses),
): Promise<Run> {
  const keys: string[] = [];
  const counts = new Map<number, number>();
  const server = createServer();
  server.on('stream', stream => {
    const chunks: Buffer[] = [];
    stream.on('error', () => {}); // The session was destroyed on purpose.
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const { key, value } = decodeMessage('PutRequest', Buffer.concat(chunks).subarray(5));
      assert.equal((value as Buffer).length, 256);
      keys.push(String(key));
      answer(stream, keys.length - 1);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  let ended = 0;
  let nextKey = 0;
  let closing = () => {};
  try {
    await new Promise<void>((resolve, reject) => {
      const opened = LoadConnection.open({
        endpoint: `127.0.0.1:${port}`,
        templates: [requestTemplate('put', {})],
        nextKey: () => nextKey++,
        finished: status => {
          counts.set(status, (counts.get(status) ?? 0) + 1);
          ended++;
          if (ended === calls) void opened.then(connection => connection.drain()).then(resolve);
        },
        failed: reject,
      });
      opened.then(connection => {
        connection.run(20);
        closing = () => connection.close();
      }, reject);
    });
  } finally {
    closing();
    server.close();
  }
  return { counts, keys, calls: ended };
}

function answerWith(statuses: readonly number[]) {
  return (stream: ServerHttp2Stream, call: number) => {
    const status = statuses[call % statuses.length]!;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status), 'grpc-message': `${call}` }));
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  };
}
