/**
 * Thousands of crash cycles by hand:
 *
 *   node dist/test/crash/run-cycles.js --cycles 5000 [--power-cut] [--members 1|3] [--seed N] [--lying]
 *                                      [--cycles-per-directory N] [--server kvorum|etcd-3.4|etcd-3.5] [-- server flags]
 *
 * Prints the seed first, totals now and then, and ends with code 1 at the first broken promise.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type EtcdVersion, findEtcd } from '../support/etcd.js';
import { type CycleTotals, runCycles } from './cycles.js';
import { planEtcd, planKvorum, type ServerPlan } from './server-life.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    cycles: { type: 'string', default: '100' },
    'cycles-per-directory': { type: 'string', default: '25' },
    members: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    server: { type: 'string', default: 'kvorum' },
    'power-cut': { type: 'boolean', default: false },
    lying: { type: 'boolean', default: false },
  },
});

async function plan(root: string): Promise<ServerPlan> {
  if (values.server === 'kvorum') return planKvorum(root, Number(values.members), positionals);
  const release = values.server.replace('etcd-', '') as EtcdVersion;
  const etcd = await findEtcd(release);
  if (etcd === undefined) throw new Error(`${values.server} is not available`);
  return planEtcd(root, etcd.server, positionals);
}

const startedAt = performance.now();
const printEvery = 25;

function print(totals: CycleTotals): void {
  const seconds = (performance.now() - startedAt) / 1_000;
  process.stdout.write(`${JSON.stringify({ seconds: Number(seconds.toFixed(1)), ...totals })}\n`);
}

process.stdout.write(`seed ${values.seed}\n`);
try {
  const totals = await runCycles({
    plan,
    crash: values['power-cut'] ? 'power-cut' : 'kill',
    cycles: Number(values.cycles),
    cyclesPerDirectory: Number(values['cycles-per-directory']),
    seed: Number(values.seed),
    lying: values.lying,
    progress: current => {
      if (current.cycles % printEvery === 0) print(current);
    },
  });
  print(totals);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
}
