import assert from 'node:assert/strict';
import { EtcdError, LeaseLostError } from '../../src/index.js';
import { GrpcCode } from '../../src/wire/errors.js';
import { aborted, againstEveryTarget, take } from './targets.js';

againstEveryTarget({
  'keys hang on a lease, are named, and go with it': async target => {
    const client = target.client();
    const lease = await client.lease({ ttlSeconds: 30 });
    const { revision } = await client.put('l/1', 'x', { lease });
    await client.txn({ success: [{ put: 'l/2', value: 'y', lease: lease.id }] });
    assert.equal((await client.get('l/1'))?.lease, lease.id);
    const left = await lease.timeToLive({ keys: true });
    assert.deepEqual([left?.grantedTtlSeconds, [...(left?.keys ?? [])].sort()], [30, ['l/1', 'l/2']]);
    assert.ok(left!.ttlSeconds <= 30);
    assert.ok((await client.leases()).includes(lease.id));
    const watch = client.watch({ prefix: 'l/' }, { startRevision: revision + 2 });
    await lease.revoke();
    const events = await take(watch[Symbol.asyncIterator](), 2);
    assert.deepEqual(
      events.map(event => [event.type, event.kv.key]),
      [
        ['delete', 'l/1'],
        ['delete', 'l/2'],
      ],
    );
    assert.equal(events[0]?.revision, events[1]?.revision);
    watch.cancel();
    assert.equal(await lease.timeToLive(), undefined);
    assert.ok(lease.lost.reason instanceof LeaseLostError);
    await lease.revoke();
    await assert.rejects(client.leaseRevoke(lease), {
      code: GrpcCode.NotFound,
      message: 'etcdserver: requested lease not found',
    });
  },

  'an id of the caller, once': async target => {
    const client = target.client();
    const { id } = await client.leaseGrant({ ttlSeconds: 20, id: 4711n });
    assert.equal(id, 4711n);
    await assert.rejects(client.lease({ ttlSeconds: 20, id: 4711n }), {
      code: GrpcCode.FailedPrecondition,
      message: 'etcdserver: lease already exists',
    });
    assert.equal((await client.leaseTimeToLive(4711n))?.grantedTtlSeconds, 20);
    await client.leaseRevoke(4711n);
    assert.equal(await client.leaseTimeToLive(4711n), undefined);
  },

  'kept alive beyond its time; released it ends': async target => {
    const client = target.client();
    const lease = await client.lease({ ttlSeconds: 2 });
    await client.put('k', 'x', { lease });
    const watch = client.watch('k');
    await watch.created;
    // Another lease of the same time, not kept, shows when the time has passed.
    const clock = await client.leaseGrant({ ttlSeconds: 2 });
    await client.put('clock', 'x', { lease: clock });
    for await (const { type } of client.watch('clock')) if (type === 'delete') break;
    assert.equal((await client.get('k'))?.value, 'x');
    assert.equal(lease.lost.aborted, false);
    lease.release();
    const [event] = await take(watch[Symbol.asyncIterator](), 1);
    assert.equal(event?.type, 'delete');
    watch.cancel();
  },

  'revoked by another: noticed at the next renewal': async target => {
    const lease = await target.client().lease({ ttlSeconds: 2 });
    await target.client().leaseRevoke(lease.id);
    const reason = await aborted(lease.lost);
    assert.ok(reason instanceof LeaseLostError);
    assert.equal(reason.lease, lease.id);
  },

  'lost when the server is gone for the whole time, kept when it comes back before': async target => {
    const client = target.client();
    const short = await client.lease({ ttlSeconds: 2 });
    const long = await client.lease({ ttlSeconds: 60 });
    await target.down();
    const reason = await aborted(short.lost);
    assert.match(String(reason), /could not be renewed in time/);
    await assert.rejects(target.client().put('k', 'v', { timeoutMs: 50 }), EtcdError);
    await target.up();
    assert.equal(long.lost.aborted, false);
    assert.notEqual(await long.timeToLive(), undefined);
    await long.revoke();
  },
});
