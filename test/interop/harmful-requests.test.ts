/**
 * Requests that end or corrupt real etcd servers (found by the differential tests, kept out of their programs): kvorum
 * answers them, lives on, and its members stay equal.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Outcome, type Side, sideOf } from '../support/differential.js';
import { GrpcClient } from '../support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../support/messages.js';
import { type MethodName, operation } from '../support/programs.js';
import { startSubject } from '../support/subject.js';

const members = 3;
const key = Buffer.from('m');
const fromKey = Buffer.from([0]);

test('an undefined sort target is refused (before 3.6: a panic)', async () => {
  await withKvorum(async ask => {
    for (const target of [5, 1000, -1]) {
      const { status, text } = await ask(0, 'Range', { key, range_end: fromKey, sort_target: target });
      assert.deepEqual({ status, text }, { status: 3, text: 'etcdserver: invalid sort option' });
    }
  });
});

test('a transaction may delete from a key on and then keep the value of a key it deleted (etcd: a panic)', async () => {
  await withKvorum(async (ask, hashes) => {
    await ask(0, 'Put', { key, value: Buffer.from('kept') });
    const { status, response } = await ask(1, 'Txn', {
      success: [
        { request_delete_range: { key: Buffer.from('a'), range_end: fromKey } },
        { request_put: { key, ignore_value: true, prev_kv: true } },
      ],
    });
    assert.equal(status, 0);
    assert.equal(response?.succeeded, true);
    for (let member = 0; member < members; member++) {
      const { response: range } = await ask(member, 'Range', { key });
      const pairs = (range?.kvs ?? []) as Message[];
      assert.equal(pairs[0]?.version, 1n, 'the key was deleted in between');
    }
    assert.equal(new Set(await hashes()).size, 1);
  });
});

test('a transaction that fails for the revision of a range fails on every member (3.4, 3.5: on one)', async () => {
  await withKvorum(async (ask, hashes) => {
    await ask(0, 'Put', { key });
    const success = [{ request_put: { key } }, { request_range: { key, revision: 1000n } }];
    for (let member = 0; member < members; member++) {
      const { status, text } = await ask(member, 'Txn', { success });
      const futureRevision = 'etcdserver: mvcc: required revision is a future revision';
      assert.deepEqual({ status, text }, { status: 11, text: futureRevision });
      assert.equal(new Set(await hashes()).size, 1);
    }
  });
});

test('a watch from before the first revision is refused, and others miss nothing (etcd: they do)', async () => {
  await withKvorum(async (ask, _, client) => {
    const stream = client.stream('/etcdserverpb.Watch/Watch');
    const create = (start: bigint) =>
      stream.send(encodeMessage('WatchRequest', { create_request: { key, start_revision: start } }));
    const next = async () => decodeMessage('WatchResponse', (await stream.next()).value as Buffer);
    await ask(0, 'Put', { key });
    create(-1n);
    const { created, canceled, cancel_reason: reason, watch_id: id } = await next();
    const compacted = 'etcdserver: mvcc: required revision has been compacted';
    assert.deepEqual({ created, canceled, reason, id }, { created: true, canceled: true, reason: compacted, id: -1n });
    create(2n);
    assert.equal((await next()).created, true);
    assert.equal(((await next()).events as Message[]).length, 1);
    stream.cancel();
  });
});

type Ask = (member: number, method: MethodName, request: Message) => Promise<Outcome>;

/** Runs `check` against three members of kvorum; `hashes` gives the hash of each member's store, `client` is the first's. */
async function withKvorum(
  check: (ask: Ask, hashes: () => Promise<unknown[]>, client: GrpcClient) => Promise<void>,
): Promise<void> {
  const subject = await startSubject('kvorum', { members });
  const clients = await Promise.all(subject.endpoints.map(endpoint => GrpcClient.connect(endpoint)));
  const side: Side = sideOf(subject.name, subject.family, clients);
  const ask: Ask = (member, method, request) => side.call(operation(method, request), member);
  const hashes = async () => {
    const found: unknown[] = [];
    for (let member = 0; member < members; member++) {
      // A confirmed read first: the member has then applied all that was written.
      await ask(member, 'Range', { key });
      found.push((await ask(member, 'HashKV', {})).response?.hash);
    }
    return found;
  };
  try {
    await check(ask, hashes, clients[0]!);
  } finally {
    for (const client of clients) client.close();
    await subject.stop();
  }
}
