/** Grants leases 0 to `leases` - 1 (requests.ts has their ids), each exactly once, over a connection per endpoint. */
import { LoadConnection } from './connection.js';
import { grantTemplate } from './requests.js';
import { openAll, openPromise } from './waiting.js';

const outstanding = 500;

/** Resolves with the grants a second when all are granted; rejects when one is not. */
export async function grantLeases(endpoints: readonly string[], leases: number, ttlSeconds: number): Promise<number> {
  const done = openPromise();
  let started = 0;
  let ended = 0;
  const fromMs = performance.now();
  const open = endpoints.slice(0, leases).map((endpoint, position, used) =>
    LoadConnection.open({
      endpoint,
      templates: [grantTemplate(ttlSeconds)],
      calls: Math.floor(leases / used.length) + (position < leases % used.length ? 1 : 0),
      nextKey: () => started++,
      finished: status => {
        if (status !== 0) done.reject(new Error(`a grant failed with status ${status}`));
        if (++ended === leases) done.resolve();
      },
      failed: done.reject,
    }),
  );
  const connections = await openAll(open);
  for (const connection of connections) connection.run(Math.ceil(outstanding / open.length));
  try {
    await done.promise;
  } finally {
    for (const connection of connections) connection.close();
  }
  const seconds = (performance.now() - fromMs) / 1000;
  return leases / seconds;
}
