/**
 * The round trip by hand, at any size:
 *
 *   node dist/test/interop/round-trip.js [--keys 1000000] [--value-bytes 1024] [--releases 3.4,3.5] [--directory DIR]
 *
 * Prints times and the greatest memory of every process; ends with code 1 at the first difference.
 */
import { parseArgs } from 'node:util';
import { type EtcdVersion, findEtcd } from '../support/etcd.js';
import { ownDirectory } from '../support/server-process.js';
import { goAround } from './round-trip-steps.js';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    'value-bytes': { type: 'string', default: '1024' },
    releases: { type: 'string', default: '3.4,3.5' },
    directory: { type: 'string' },
  },
});

for (const release of values.releases.split(',') as EtcdVersion[]) {
  const binaries = await findEtcd(release);
  if (binaries === undefined) throw new Error(`etcd ${release} is not available on this machine`);
  const directory = await ownDirectory('kvorum-round-trip-', values.directory);
  console.log(`${values.keys} keys with values of ${values['value-bytes']} bytes, etcd ${binaries.version}`);
  const keys = Number(values.keys);
  const valueBytes = Number(values['value-bytes']);
  await goAround({ binaries, directory: directory.path, keys, valueBytes, say: line => console.log(`  ${line}`) });
  await directory.remove();
  console.log('  everything is the same at every stop');
}
