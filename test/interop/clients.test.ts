/**
 * Client libraries as their users use them, without a kvorum-specific line: npm's etcd3 (the one v3 client of etcd's own
 * list for Node) and @grpc/grpc-js with nothing but method paths.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { Etcd3, EtcdLeaseInvalidError } from 'etcd3';
import { type Cluster, startCluster } from '../../src/index.js';
import { decode, encode } from '../../src/wire/schema.js';

let cluster: Cluster;
before(async () => {
  cluster = await startCluster({ logLevel: 'silent' });
});
after(() => cluster.close());

test('etcd3: puts, gets, ranges, deletes, transactions over all endpoints', async () => {
  const client = new Etcd3({ hosts: [...cluster.endpoints] });
  try {
    await client.put('etcd3/a').value('1');
    await client.put('etcd3/b').value('2');
    assert.equal(await client.get('etcd3/a').string(), '1');
    assert.equal(await client.get('etcd3/none').string(), null);
    assert.deepEqual(await client.getAll().prefix('etcd3/').strings(), { 'etcd3/a': '1', 'etcd3/b': '2' });
    assert.deepEqual(await client.getAll().prefix('etcd3/').sort('Key', 'Descend').limit(1).keys(), ['etcd3/b']);
    assert.equal(await client.getAll().prefix('etcd3/').count(), 2);
    const swapped = await client
      .if('etcd3/a', 'Value', '==', '1')
      .then(client.put('etcd3/a').value('3'), client.get('etcd3/b'))
      .else(client.get('etcd3/a'))
      .commit();
    assert.equal(swapped.succeeded, true);
    assert.equal(await client.get('etcd3/a').string(), '3');
    const { deleted } = await client.delete().prefix('etcd3/');
    assert.equal(deleted, '2');
    await client.namespace('ns/').put('x').value('y');
    assert.equal(await client.get('ns/x').string(), 'y');
  } finally {
    client.close();
  }
});

test('etcd3 recognises errors by their text', async () => {
  const client = new Etcd3({ hosts: [...cluster.endpoints] });
  try {
    await assert.rejects(async () => client.put('k').value('v').lease('1234'), EtcdLeaseInvalidError);
  } finally {
    client.close();
  }
});

test('etcd3 goes on when the member it talks to is killed', async () => {
  const client = new Etcd3({ hosts: [...cluster.endpoints] });
  try {
    await client.put('failover').value('before');
    const victim = cluster.leader();
    await victim?.kill();
    const deadline = performance.now() + 20_000;
    for (;;) {
      try {
        await client.put('failover').value('after');
        break;
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
    }
    assert.equal(await client.get('failover').string(), 'after');
    await victim?.start();
  } finally {
    client.close();
  }
});

/** One unary call by path, bytes in and bytes out. */
function call(client: Client, path: string, request: Uint8Array, deadlineMs = 10_000): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.from(request),
      new Metadata(),
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, response?: Buffer) => (error ? reject(error) : resolve(response as Buffer)),
    );
  });
}

test('grpc-js: every endpoint answers with its own member id', async () => {
  for (const member of cluster.members) {
    const client = new Client(member.endpoint.replace('http://', ''), credentials.createInsecure());
    try {
      const put = encode('etcdserverpb.PutRequest', { key: Buffer.from('grpc-js'), value: Buffer.from(member.name) });
      const response = decode('etcdserverpb.PutResponse', await call(client, '/etcdserverpb.KV/Put', put));
      assert.equal(response.header?.member_id.toString(16), member.id);
      const range = encode('etcdserverpb.RangeRequest', { key: Buffer.from('grpc-js') });
      const { kvs } = decode('etcdserverpb.RangeResponse', await call(client, '/etcdserverpb.KV/Range', range));
      assert.equal(Buffer.from(kvs[0]?.value ?? []).toString(), member.name);
    } finally {
      client.close();
    }
  }
});

test('grpc-js: errors, unknown methods, big values, many at once', async () => {
  const client = new Client((cluster.endpoints[0] as string).replace('http://', ''), credentials.createInsecure());
  const failure = (path: string, request: Uint8Array): Promise<ServiceError> =>
    call(client, path, request).then(
      () => assert.fail('not refused'),
      (error: ServiceError) => error,
    );
  try {
    const empty = await failure('/etcdserverpb.KV/Put', encode('etcdserverpb.PutRequest', {}));
    assert.equal(empty.code, status.INVALID_ARGUMENT);
    assert.equal(empty.details, 'etcdserver: key is not provided');
    const method = await failure('/etcdserverpb.KV/Nothing', new Uint8Array(0));
    assert.equal(method.code, status.UNIMPLEMENTED);
    assert.equal(method.details, 'unknown method Nothing for service etcdserverpb.KV');
    const service = await failure('/nothing.Nothing/Nothing', new Uint8Array(0));
    assert.equal(service.details, 'unknown service nothing.Nothing');
    const big = encode('etcdserverpb.PutRequest', { key: Buffer.from('big'), value: Buffer.alloc(1_500_000, 'x') });
    await call(client, '/etcdserverpb.KV/Put', big);
    const range = encode('etcdserverpb.RangeRequest', { key: Buffer.from('big') });
    const { kvs } = decode('etcdserverpb.RangeResponse', await call(client, '/etcdserverpb.KV/Range', range));
    assert.equal(kvs[0]?.value.length, 1_500_000);
    const tooLarge = encode('etcdserverpb.PutRequest', { key: Buffer.from('big'), value: Buffer.alloc(1_600_000) });
    assert.equal((await failure('/etcdserverpb.KV/Put', tooLarge)).details, 'etcdserver: request is too large');
    const huge = encode('etcdserverpb.PutRequest', { key: Buffer.from('big'), value: Buffer.alloc(3_000_000) });
    const refused = await failure('/etcdserverpb.KV/Put', huge);
    assert.equal(refused.code, status.RESOURCE_EXHAUSTED);
    assert.match(refused.details, /^grpc: received message larger than max \(\d+ vs\. 2097152\)$/);
    const puts = Array.from({ length: 500 }, (_, at) =>
      call(client, '/etcdserverpb.KV/Put', encode('etcdserverpb.PutRequest', { key: Buffer.from(`many/${at}`) })),
    );
    assert.equal((await Promise.all(puts)).length, 500);
  } finally {
    client.close();
  }
});
