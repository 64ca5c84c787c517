import assert from 'node:assert/strict';
import { type EtcdClient, LeaseLostError, OwnershipLostError } from '../../src/index.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { cutClient } from './cut-channel.js';
import { aborted, againstEveryTarget, take } from './targets.js';

/** Resolves when `count` participants stand below the name. */
async function participants(client: EtcdClient, name: string, count: number): Promise<string[]> {
  const range = { prefix: `${name}/` };
  const watch = client.watch(range);
  await watch.created;
  const events = watch[Symbol.asyncIterator]();
  for (;;) {
    const { kvs } = await client.getAll(range, { sortBy: 'createRevision' });
    if (kvs.length === count) {
      watch.cancel();
      return kvs.map(kv => kv.key);
    }
    await events.next();
  }
}

againstEveryTarget({
  'one holder at a time, in the order of asking': async target => {
    const clients = [target.client(), target.client(), target.client()];
    const order: number[] = [];
    let inside = 0;
    const waiting: Promise<void>[] = [];
    for (const [number, client] of clients.entries()) {
      waiting.push(
        client.lock('fair').then(async lock => {
          inside += 1;
          assert.equal(inside, 1);
          order.push(number);
          assert.equal((await client.get(lock.key))?.createRevision, lock.revision);
          if (number === 0) await participants(client, 'fair', 3);
          inside -= 1;
          await lock.unlock();
          assert.equal(lock.lost.aborted, false);
        }),
      );
      if (number < 2) await participants(client, 'fair', number + 1);
    }
    await Promise.all(waiting);
    assert.deepEqual(order, [0, 1, 2]);
    assert.deepEqual(await participants(clients[0]!, 'fair', 0), []);
    assert.deepEqual(await clients[0]!.leases(), []);
  },

  'the key is named by the lease; one lease holds a lock once': async target => {
    const client = target.client();
    await using lease = await client.lease({ ttlSeconds: 20 });
    const lock = await client.lock('named', { lease });
    assert.equal(lock.key, `named/${lease.id.toString(16)}`);
    const again = await client.lock('named', { lease: lease.id });
    assert.deepEqual([again.key, again.revision], [lock.key, lock.revision]);
    await lock.unlock();
    assert.equal(await client.get(lock.key), undefined);
    assert.ok((await aborted(again.lost)) instanceof OwnershipLostError);
    await again.unlock();
    assert.notEqual(await lease.timeToLive(), undefined);
  },

  'given up while waiting: by signal, by timeout, with either kind of lease': async target => {
    const client = target.client();
    await using holder = await client.lock('given-up');
    await using lease = await client.lease({ ttlSeconds: 20 });
    for (const options of [{}, { lease }]) {
      const controller = new AbortController();
      const reason = new Error('enough');
      const waiting = client.lock('given-up', { ...options, signal: controller.signal });
      waiting.catch(() => {});
      await participants(client, 'given-up', 2);
      controller.abort(reason);
      await assert.rejects(waiting, reason);
      assert.deepEqual(await participants(client, 'given-up', 1), [holder.key]);
      await assert.rejects(client.lock('given-up', { ...options, timeoutMs: 100 }), {
        code: GrpcCode.DeadlineExceeded,
      });
      assert.deepEqual(await participants(client, 'given-up', 1), [holder.key]);
    }
    assert.equal((await client.leases()).length, 2);
  },

  'lost when the lease is revoked: the next one has it': async target => {
    const client = target.client();
    const first = await client.lock('handover', { ttlSeconds: 60 });
    const second = target.client().lock('handover');
    await participants(client, 'handover', 2);
    const lease = (await client.get(first.key))!.lease;
    await client.leaseRevoke(lease);
    assert.ok((await aborted(first.lost)) instanceof OwnershipLostError);
    const lock = await second;
    assert.ok(lock.revision > first.revision);
    await first.unlock();
    assert.equal((await client.get(lock.key))?.createRevision, lock.revision);
    await lock.unlock();
  },

  "lost with the caller's lease, waiting and held": async target => {
    const client = target.client();
    const lease = await client.lease({ ttlSeconds: 20 });
    const held = await client.lock('with-lease', { lease });
    const other = await client.lease({ ttlSeconds: 20 });
    const waiting = client.lock('with-lease', { lease: other });
    waiting.catch(() => {});
    await participants(client, 'with-lease', 2);
    await other.revoke();
    await assert.rejects(waiting, LeaseLostError);
    await lease.revoke();
    assert.ok((await aborted(held.lost)) instanceof LeaseLostError);
    await assert.rejects(client.lock('with-lease', { lease }), LeaseLostError);
    await assert.rejects(client.lock('with-lease', { lease: lease.id }), {
      message: 'etcdserver: requested lease not found',
    });
  },

  'an expired session is noticed when its turn comes': async target => {
    const client = target.client();
    const holder = await client.lock('expired');
    const { id } = await client.leaseGrant({ ttlSeconds: 20 });
    const waiting = client.lock('expired', { lease: id });
    waiting.catch(() => {});
    await participants(client, 'expired', 2);
    await client.leaseRevoke(id);
    await participants(client, 'expired', 1);
    await holder.unlock();
    await assert.rejects(waiting, { code: GrpcCode.Unknown, message: 'mutex: session is expired' });
  },

  'an election: campaign, proclaim, resign, the next one': async target => {
    const client = target.client();
    const election = client.election('e');
    assert.equal(await election.leader(), undefined);
    const first = await election.campaign('one');
    assert.equal((await election.leader())?.value, 'one');
    const second = target.client().election('e').campaign('two');
    await participants(client, 'e', 2);
    await first.proclaim('one!');
    assert.equal((await election.leader())?.value, 'one!');
    await first.resign();
    await assert.rejects(first.proclaim('no'), { code: GrpcCode.Unknown, message: 'election: not leader' });
    await first.resign();
    const leadership = await second;
    const leader = await election.leader();
    assert.deepEqual([leader?.value, leader?.createRevision], ['two', leadership.revision]);
    await client.delete(leadership.keyBytes);
    assert.ok((await aborted(leadership.lost)) instanceof OwnershipLostError);
    await leadership.resign();
    assert.equal(await election.leader(), undefined);
  },

  'campaigning again with one lease replaces the value': async target => {
    const client = target.client();
    await using lease = await client.lease({ ttlSeconds: 20 });
    const election = client.election('again');
    const first = await election.campaign('one', { lease });
    const second = await election.campaign('two', { lease });
    assert.deepEqual([second.key, second.revision], [first.key, first.revision]);
    assert.equal((await election.leader())?.value, 'two');
    await second.resign();
  },

  'observers see the leader, then every value and every leader': async target => {
    const client = target.client();
    const election = client.election('seen');
    const early = election.observe();
    const first = early.next();
    const leadership = await election.campaign('one');
    assert.equal((await first).value?.value, 'one');
    const late = election.observe();
    assert.equal((await late.next()).value?.value, 'one');
    await leadership.proclaim('two');
    const next = target.client().election('seen').campaign('three');
    await participants(client, 'seen', 2);
    await leadership.resign();
    const other = await next;
    await other.proclaim('four');
    for (const observer of [early, late]) {
      assert.deepEqual(
        (await take(observer, 3)).map(kv => kv.value),
        ['two', 'three', 'four'],
      );
      await observer.return();
    }
    await other.resign();
  },

  'a campaign and an observer given up': async target => {
    const client = target.client();
    await using leader = await client.election('quit').campaign('one');
    const controller = new AbortController();
    const reason = new Error('enough');
    const campaign = target.client().election('quit').campaign('two', { signal: controller.signal });
    campaign.catch(() => {});
    await participants(client, 'quit', 2);
    const observer = client.election('nobody').observe({ signal: controller.signal });
    const next = observer.next();
    next.catch(() => {});
    controller.abort(reason);
    await assert.rejects(campaign, reason);
    await assert.rejects(next, reason);
    assert.deepEqual(await participants(client, 'quit', 1), [leader.key]);
  },

  'history compacted while the streams were cut: waiting, holding, observing go on': async target => {
    const client = target.client();
    const { client: cuttable, cut, mend } = cutClient(client);
    const held = await cuttable.lock('cut/held', { ttlSeconds: 60 });
    const before = await client.lock('cut/waited', { ttlSeconds: 60 });
    const waiting = cuttable.lock('cut/waited', { ttlSeconds: 60 });
    await participants(client, 'cut/waited', 2);
    const leadership = await client.election('cut/e').campaign('one', { ttlSeconds: 60 });
    const observer = cuttable.election('cut/e').observe();
    assert.equal((await observer.next()).value?.value, 'one');
    const next = observer.next();
    // What has been opened by now is cut, whether it was answered or not.
    cut();
    await leadership.proclaim('two');
    await leadership.proclaim('three');
    await before.unlock();
    await client.compact((await client.put('cut/x', '')).revision);
    mend();
    assert.equal((await next).value?.value, 'three');
    const lock = await waiting;
    await observer.return();
    assert.equal(held.lost.aborted, false);
    await client.delete(held.keyBytes);
    assert.ok((await aborted(held.lost)) instanceof OwnershipLostError);
    for (const one of [held, lock]) await one.unlock();
    await leadership.resign();
  },

  'a lock outlives a restart of the server': async target => {
    const client = target.client();
    const lock = await client.lock('restart', { ttlSeconds: 60 });
    const waiting = client.lock('restart', { ttlSeconds: 60 });
    await participants(client, 'restart', 2);
    await target.down();
    await target.up();
    assert.equal(lock.lost.aborted, false);
    await lock.unlock();
    await (await waiting).unlock();
    assert.deepEqual(await participants(client, 'restart', 0), []);
  },
});
