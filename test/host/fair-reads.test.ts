/**
 * One client asks for many large values at once: nobody else waits for all of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCluster } from '../../src/index.js';
import { GrpcClient } from '../support/grpc-client.js';
import { encodeMessage } from '../support/messages.js';

const mib = 1024 * 1024;
const asks = 200;

for (const serializable of [false, true]) {
  test(`a small ${serializable ? 'serializable' : 'linearizable'} read and a put overtake them`, async () => {
    const cluster = await startCluster({ members: 1, logLevel: 'silent' });
    const endpoint = cluster.endpoints[0] as string;
    const [greedy, polite] = [await GrpcClient.connect(endpoint), await GrpcClient.connect(endpoint)];
    const call = (client: GrpcClient, method: 'Put' | 'Range', message: Uint8Array) =>
      client.unary(`/etcdserverpb.KV/${method}`, message);
    const range = (key: string) => encodeMessage('RangeRequest', { key: Buffer.from(key), serializable });
    const put = (key: string, value: Uint8Array) => encodeMessage('PutRequest', { key: Buffer.from(key), value });
    try {
      await call(greedy, 'Put', put('large', Buffer.alloc(mib)));
      await call(polite, 'Put', put('small', Buffer.from('v')));
      let answered = 0;
      const large = Array.from({ length: asks }, async () => {
        const { messages } = await call(greedy, 'Range', range('large'));
        assert.ok((messages[0]?.length ?? 0) > mib);
        answered += 1;
      });
      await Promise.race(large);
      const results = [
        await call(polite, 'Range', range('small')),
        await call(polite, 'Put', put('other', Buffer.of())),
      ];
      assert.deepEqual(
        results.map(({ grpcStatus }) => grpcStatus),
        [0, 0],
      );
      assert.ok(answered < asks / 2, `${answered} of ${asks} large ones came first`);
      await Promise.all(large);
    } finally {
      greedy.close();
      polite.close();
      await cluster.close();
    }
  });
}
