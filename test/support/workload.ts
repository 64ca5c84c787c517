/**
 * A little of everything that a dashboard shows, until it is stopped: puts, transactions, reads, deletes, leases, open
 * watches, and a call that is refused. Over the network, for clients' bytes are counted there.
 */
import { connect, type EtcdClient, EtcdError } from '../../src/index.js';

export interface Workload {
  /** Ends it, and resolves with what failed meanwhile. */
  stop(): Promise<readonly EtcdError[]>;
}

/** Starts it with one client an endpoint; `pauseMs` is between a client's rounds of eight calls. */
export async function startWorkload(endpoints: readonly string[], pauseMs: number): Promise<Workload> {
  const clients = endpoints.map(endpoint => connect({ endpoints: [endpoint] }));
  const failures: EtcdError[] = [];
  const leases = await Promise.all(clients.map(client => client.lease({ ttlSeconds: 1 })));
  const watches = clients.map(client => client.watch({ prefix: 'load/' }));
  const reading = watches.map(async watch => {
    let events = 0;
    for await (const batch of watch.batches()) events += batch.events.length;
    return events;
  });
  let isRunning = true;
  const working = clients.map(async (client, at) => {
    for (let round = 0; isRunning; round++) {
      try {
        await oneRound(client, `load/${at}/`, round);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
        failures.push(error);
      }
      await new Promise(resolve => setTimeout(resolve, pauseMs));
    }
  });
  return {
    stop: async () => {
      isRunning = false;
      await Promise.all(working);
      for (const watch of watches) watch.cancel();
      await Promise.allSettled(reading);
      for (const lease of leases) lease.release();
      for (const client of clients) client.close();
      return failures;
    },
  };
}

async function oneRound(client: EtcdClient, prefix: string, round: number): Promise<void> {
  const key = `${prefix}${round % 100}`;
  await client.put(key, 'v'.repeat(200));
  await Promise.all([client.get(key), client.getAll({ prefix }, { serializable: true })]);
  await client.txn({ success: [{ put: key, value: 'w' }, { get: key }] });
  await client.delete(key);
  await client.leaseRevoke(await client.leaseGrant({ ttlSeconds: 60 }));
  const refused = await client.leaseRevoke(123_456n).catch((error: unknown) => error);
  if (!(refused instanceof EtcdError && refused.message === 'etcdserver: requested lease not found')) throw refused;
}
