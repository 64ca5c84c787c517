/**
 * The load generator as a program of its own, so that it has its own core and its own garbage:
 *
 *   node dist/bench/load/main.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --operation put --outstanding 100
 *
 *   --operation      put | range | serializable-range
 *   --keys           sequential | random                      order in which keys are used (default random)
 *   --key-space      how many keys there are                  (default 100000; sequential starts over at the end)
 *   --value-bytes    size of a put's value                    (default 256)
 *   --outstanding    calls in flight over all endpoints       (default 100)
 *   --seconds        measured time after the warm-up          (default 5)
 *   --warmup         seconds that do not count                (default 1)
 *   --requests       instead of a time: this many calls, all counted, no warm-up
 *
 * One connection per endpoint, the calls in flight spread evenly. Prints one JSON object. A call that fails is counted
 * by its gRPC status and makes the exit code 1: a benchmark of errors is none.
 */
import { parseArgs } from 'node:util';
import { type OperationName, operations, requestTemplate } from '../../src/load/requests.js';
import { keyChooser, runUnaryLoad, type UnaryResult } from '../../src/load/unary-load.js';

export interface LoadResult extends UnaryResult {
  readonly operation: OperationName;
  readonly keys: string;
  readonly outstanding: number;
}

interface LoadOptions {
  readonly endpoints: readonly string[];
  readonly operation: OperationName;
  readonly keys: 'sequential' | 'random';
  readonly keySpace: number;
  readonly valueBytes: number;
  readonly outstanding: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly requests: number | undefined;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const { operation, keys, keySpace, valueBytes, outstanding } = options;
  const templates = [requestTemplate(operation, { valueBytes })];
  const measured = await runUnaryLoad({ ...options, templates, nextKey: keyChooser(keys, keySpace) });
  const result: LoadResult = { operation, keys, outstanding, ...measured };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = Object.keys(result.failed).length === 0 ? 0 : 1;
}

function readOptions(argv: string[]): LoadOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      endpoints: { type: 'string' },
      operation: { type: 'string', default: 'put' },
      keys: { type: 'string', default: 'random' },
      'key-space': { type: 'string', default: '100000' },
      'value-bytes': { type: 'string', default: '256' },
      outstanding: { type: 'string', default: '100' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      requests: { type: 'string' },
    },
  });
  const operation = operations.find(name => name === values.operation);
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  if (operation === undefined) throw new Error(`--operation is one of ${operations.join(', ')}`);
  if (values.keys !== 'sequential' && values.keys !== 'random') throw new Error('--keys is sequential or random');
  return {
    endpoints: values.endpoints.split(','),
    operation,
    keys: values.keys,
    keySpace: Number(values['key-space']),
    valueBytes: Number(values['value-bytes']),
    outstanding: Number(values.outstanding),
    seconds: Number(values.seconds),
    warmup: values.requests === undefined ? Number(values.warmup) : 0,
    requests: values.requests === undefined ? undefined : Number(values.requests),
  };
}

await main();
