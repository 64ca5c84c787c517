/**
 * Watch fan-out: puts on one connection, watchers on many, in one process of its own, so that one clock times both.
 *
 *   node dist/bench/load/watch.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --keys 1 --watchers 1000
 *
 *   --endpoints      the puts go to the first; the connections with watchers go round all of them
 *   --keys           keys that are put in turn                              (default 1)
 *   --watchers       over all keys: every key has watchers / keys of them    (default 1000)
 *   --streams        gRPC streams they are spread over                      (default watchers / 10)
 *   --connections    connections the streams are spread over                (default 30)
 *   --outstanding    puts under way; a put is over when it is acknowledged and every watcher has its event (default 1)
 *   --rate           instead: so many puts a second, whatever is under way
 *   --value-bytes    size of a value                                        (default 256)
 *   --seconds        measured time after the warm-up                        (default 5)
 *   --warmup         seconds that do not count                              (default 1)
 *   --pids           the servers' processes: their CPU time is measured
 *
 * Every event is counted by its put and checked: a watcher sees rising revisions, a put as many
 * events as it has watchers, all of them at the end. Prints one JSON object; anything amiss ends the run with an error.
 */
import { parseArgs } from 'node:util';
import { runWatchLoad, type WatchLoadOptions } from '../../src/load/watch-load.js';

async function main(): Promise<void> {
  const result = await runWatchLoad(readOptions(process.argv.slice(2)));
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function readOptions(args: string[]): WatchLoadOptions {
  const { values } = parseArgs({
    args,
    options: {
      endpoints: { type: 'string' },
      keys: { type: 'string', default: '1' },
      watchers: { type: 'string', default: '1000' },
      streams: { type: 'string' },
      connections: { type: 'string', default: '30' },
      outstanding: { type: 'string', default: '1' },
      rate: { type: 'string' },
      'value-bytes': { type: 'string', default: '256' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      pids: { type: 'string', default: '' },
    },
  });
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  const [keys, watchers] = [Number(values.keys), Number(values.watchers)];
  const streams = values.streams === undefined ? Math.ceil(watchers / 10) : Number(values.streams);
  if (watchers % keys !== 0) throw new Error('--watchers is no multiple of --keys');
  if (watchers % streams !== 0) throw new Error('--watchers is no multiple of --streams');
  return {
    ...{ keys, watchers, streams },
    endpoints: values.endpoints.split(','),
    connections: Math.min(Number(values.connections), streams),
    outstanding: Number(values.outstanding),
    rate: values.rate === undefined ? undefined : Number(values.rate),
    valueBytes: Number(values['value-bytes']),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    pids: values.pids === '' ? [] : values.pids.split(',').map(Number),
  };
}

await main();
