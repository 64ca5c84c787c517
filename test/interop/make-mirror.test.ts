/**
 * `etcdctl make-mirror` copies a prefix from one cluster to another: what is there, and then every change, the changes
 * of one revision in one transaction. Between kvorum and real etcd, both ways.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlSession } from '../support/control-session.js';
import type { Family } from '../support/differential.js';
import { requireEtcd } from '../support/etcd.js';
import { GrpcClient } from '../support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../support/messages.js';
import { startSubject } from '../support/subject.js';

const ways: readonly { from: Family; to: Family; control: '3.4' | '3.5' }[] = [
  { from: 'kvorum', to: 'etcd-3.4', control: '3.5' },
  { from: 'etcd-3.5', to: 'kvorum', control: '3.4' },
];

/** More than one page of the copy, and more than the 128 changes of one transaction. */
const copied = 1_100;

for (const { from, to, control } of ways) {
  test(`etcdctl ${control} make-mirror from ${from} to ${to}`, async t => {
    const binaries = await requireEtcd(t, control);
    for (const peer of ['3.4', '3.5'] as const) if ((await requireEtcd(t, peer)) === undefined) return;
    if (binaries === undefined) return;
    const [source, target] = await Promise.all([startSubject(from, { members: 1 }), startSubject(to, { members: 1 })]);
    const clients = await Promise.all([source, target].map(subject => GrpcClient.connect(subject.endpoints[0]!)));
    const [here, there] = clients.map(client => new Store(client)) as [Store, Store];
    const destination = target.endpoints[0]!;
    const sessions: ControlSession[] = [];
    const mirror = (...flags: string[]) => {
      const session = new ControlSession(binaries.control, source.endpoints[0]!, [
        'make-mirror',
        ...flags,
        destination,
      ]);
      sessions.push(session);
      return session;
    };
    try {
      await here.putMany(copied);
      await here.put('other/key', 'not mirrored');
      mirror('--prefix=app/');
      mirror('--prefix=app/', '--dest-prefix=copy/of/');
      mirror('--prefix=app/00', '--no-dest-prefix');
      const copies = async (count: number) => {
        const source = await here.pairs('app/');
        assert.equal(source.size, count);
        const first = new Map([...source].filter(([key]) => key.startsWith('app/00')));
        await there.becomes('app/', source);
        await there.becomes(
          'copy/of/',
          renamed(source, key => `copy/of/${key.slice('app/'.length)}`),
        );
        await there.becomes(
          '0',
          renamed(first, key => key.slice('app/00'.length)),
          ':',
        );
      };
      await copies(copied);
      await here.put('app/0001', 'changed');
      await here.txn([
        { request_put: { key: Buffer.from('app/0002'), value: Buffer.from('of the transaction') } },
        { request_delete_range: { key: Buffer.from('app/0003') } },
        { request_put: { key: Buffer.from('app/new'), value: Buffer.from('of the transaction') } },
      ]);
      await copies(copied);
      const [changed, added] = await Promise.all([there.modRevision('app/0002'), there.modRevision('app/new')]);
      assert.equal(changed, added, 'one transaction here is one there');
      await here.txn([{ request_delete_range: { key: Buffer.from('app/01'), range_end: Buffer.from('app/02') } }]);
      await copies(copied - 100);
      assert.equal((await there.pairs('other/')).size, 0);
    } finally {
      await Promise.all(sessions.map(session => session.end('SIGKILL')));
      for (const client of clients) client.close();
      await Promise.all([source.stop(), target.stop()]);
    }
  });
}

/** The few calls this test makes of one cluster. */
class Store {
  readonly #client: GrpcClient;

  constructor(client: GrpcClient) {
    this.#client = client;
  }

  async put(key: string, value: string): Promise<void> {
    await this.#call('Put', { key: Buffer.from(key), value: Buffer.from(value) });
  }

  async putMany(count: number): Promise<void> {
    const puts = Array.from({ length: count }, (_, i) => this.put(`app/${String(i).padStart(4, '0')}`, `value ${i}`));
    await Promise.all(puts);
  }

  async txn(success: readonly Message[]): Promise<void> {
    await this.#call('Txn', { success });
  }

  async pairs(prefix: string, end = `${prefix.slice(0, -1)}0`): Promise<Map<string, string>> {
    const { kvs } = await this.#call('Range', { key: Buffer.from(prefix), range_end: Buffer.from(end) });
    return new Map((kvs as Message[]).map(({ key, value }) => [String(key), String(value)]));
  }

  async modRevision(key: string): Promise<unknown> {
    const { kvs } = await this.#call('Range', { key: Buffer.from(key) });
    return (kvs as Message[])[0]?.mod_revision;
  }

  /** Asks until the pairs below the prefix are those. */
  async becomes(prefix: string, expected: ReadonlyMap<string, string>, end?: string): Promise<void> {
    const deadline = performance.now() + 20_000;
    for (;;) {
      const found = await this.pairs(prefix, end);
      if (performance.now() > deadline) assert.deepEqual(found, expected);
      const equal = found.size === expected.size && [...expected].every(([key, value]) => found.get(key) === value);
      if (equal) return;
    }
  }

  async #call(method: string, request: Message): Promise<Message> {
    const body = encodeMessage(`${method}Request`, request);
    const { grpcStatus, grpcMessage, messages } = await this.#client.unary(`/etcdserverpb.KV/${method}`, body);
    assert.equal(grpcStatus, 0, grpcMessage);
    return decodeMessage(`${method}Response`, messages[0]!);
  }
}

function renamed(pairs: ReadonlyMap<string, string>, rename: (key: string) => string): Map<string, string> {
  return new Map([...pairs].map(([key, value]) => [rename(key), value]));
}
