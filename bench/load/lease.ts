/**
 * Keepalives: leases are granted first, then renewed over long streams, as clients do it.
 *
 *   node dist/bench/load/lease.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --leases 10000 --outstanding 100
 *
 *   --endpoints      the connections go round all of them
 *   --leases         how many there are; each stream renews its share in turn    (default 10000)
 *   --granted        they exist already
 *   --connections    connections                                                 (default one per endpoint)
 *   --streams        gRPC streams over all connections                           (default one per connection)
 *   --outstanding    keepalives under way over all streams, at least one on each (default 100)
 *   --ttl            seconds: long enough that none expires by itself            (default 3600)
 *   --seconds        measured time after the warm-up                             (default 5)
 *   --warmup         seconds that do not count                                   (default 1)
 *   --pids           the servers' processes: their CPU time is measured
 *
 * A lease has at most one keepalive under way, so an answer is matched by its id, in whatever order answers come. An
 * answer without a TTL (the lease is gone) ends the run with an error. Prints one JSON object.
 */
import { parseArgs } from 'node:util';
import { grantLeases } from '../../src/load/grants.js';
import { runKeepalives } from '../../src/load/keepalive-load.js';

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const grantsPerSecond = options.granted
    ? 0
    : await grantLeases(options.endpoints, options.leases, options.ttlSeconds);
  const result = await runKeepalives(options, grantsPerSecond);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      endpoints: { type: 'string' },
      leases: { type: 'string', default: '10000' },
      granted: { type: 'boolean', default: false },
      connections: { type: 'string' },
      streams: { type: 'string' },
      outstanding: { type: 'string', default: '100' },
      ttl: { type: 'string', default: '3600' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      pids: { type: 'string', default: '' },
    },
  });
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  const endpoints = values.endpoints.split(',');
  const outstanding = Number(values.outstanding);
  const connections = Math.min(Number(values.connections ?? endpoints.length), outstanding);
  const streams = Math.max(connections, Number(values.streams ?? connections));
  const leases = Number(values.leases);
  if (outstanding > leases || streams > leases) throw new Error('more keepalives or streams than leases');
  return {
    ...{ endpoints, leases, connections, streams, outstanding },
    granted: values.granted,
    ttlSeconds: Number(values.ttl),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    pids: values.pids === '' ? [] : values.pids.split(',').map(Number),
  };
}

await main();
