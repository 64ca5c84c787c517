/**
 * What the comparison measures with long streams: watch fan-out and keepalives.
 *
 *   watch-KxW-N       K keys with W watchers each, N puts under way (a put is over when every watcher has its event);
 *                     10 watchers to a stream, the streams on 30 connections, those on all members
 *   watch-KxW-clients one watcher to a stream, one stream to a connection: as many clients as watchers
 *   watch-KxW-rateN   N puts a second on either side: latencies under the same load
 *   keepalive-N       10,000 leases, N keepalives under way, one connection with one stream to each member: followers
 *                     forward; -leader and -followers: to those only; -streams: 100 streams on them
 *
 * Of watches the rate is events a second and the latency is from sending the put to an event.
 */
import { grantLeases } from '../src/load/grants.js';
import type { LeaseLoadResult } from '../src/load/keepalive-load.js';
import type { WatchLoadResult } from '../src/load/watch-load.js';
import { type Group, type Measurement, type Running, runGenerator, type Scenario } from './scenarios.js';

const leases = 10_000;
const leaseTtlSeconds = 3_600;

export const watch: Group = {
  name: 'watch',
  scenarios: [
    fanOut('watch-1x1000-1', 1, 1_000, ['--outstanding', '1']),
    fanOut('watch-1x1000-10', 1, 1_000, ['--outstanding', '10']),
    fanOut('watch-1x1000-rate50', 1, 1_000, ['--rate', '50']),
    fanOut('watch-1x1000-clients', 1, 1_000, ['--outstanding', '1', '--streams', '1000', '--connections', '1000']),
    fanOut('watch-1x10000-1', 1, 10_000, ['--outstanding', '1']),
    fanOut('watch-1x10000-5', 1, 10_000, ['--outstanding', '5']),
    fanOut('watch-1x10000-rate10', 1, 10_000, ['--rate', '10']),
    fanOut('watch-1000x10-1', 1_000, 10_000, ['--outstanding', '1']),
    fanOut('watch-1000x10-100', 1_000, 10_000, ['--outstanding', '100']),
    fanOut('watch-1000x10-1000', 1_000, 10_000, ['--outstanding', '1000']),
    fanOut('watch-1000x10-rate2000', 1_000, 10_000, ['--rate', '2000']),
  ],
  prepare: async () => undefined,
};

export const lease: Group = {
  name: 'lease',
  scenarios: [
    keepalive('keepalive-leader-1', 'leader', 1),
    keepalive('keepalive-leader-100', 'leader', 100),
    keepalive('keepalive-leader-1000', 'leader', 1_000),
    keepalive('keepalive-leader-1000-streams', 'leader', 1_000, 100),
    keepalive('keepalive-100', 'all', 100),
    keepalive('keepalive-1000', 'all', 1_000),
    keepalive('keepalive-1000-streams', 'all', 1_000, 100),
    keepalive('keepalive-followers-1', 'followers', 1),
    keepalive('keepalive-followers-100', 'followers', 100),
    keepalive('keepalive-followers-1000-streams', 'followers', 1_000, 100),
  ],
  prepare: endpoints => grantLeases(endpoints, leases, leaseTtlSeconds),
};

function fanOut(name: string, keys: number, watchers: number, shape: readonly string[]): Scenario {
  const flags = ['--keys', String(keys), '--watchers', String(watchers), ...shape];
  return { name, needsH2load: false, measure };

  async function measure(running: Running): Promise<Measurement> {
    const { valueBytes } = running.settings;
    const result = await runGenerator<WatchLoadResult>('watch', [
      ...['--endpoints', running.endpoints.join(','), '--value-bytes', String(valueBytes)],
      ...[...flags, ...common(running)],
    ]);
    const { eventsPerSecond, sinceSentMs, serverMicrosPerEvent, clientCpus } = result;
    const { p50, p99 } = sinceSentMs;
    return { perSecond: eventsPerSecond, p50, p99, serverMicros: serverMicrosPerEvent, clientCpus };
  }
}

function keepalive(
  name: string,
  target: 'all' | 'leader' | 'followers',
  outstanding: number,
  streams?: number,
): Scenario {
  return { name, needsH2load: false, measure };

  async function measure(running: Running): Promise<Measurement> {
    const [leader, ...followers] = running.endpoints;
    const endpoints = { all: running.endpoints, leader: [leader], followers }[target];
    const result = await runGenerator<LeaseLoadResult>('lease', [
      ...['--endpoints', endpoints.join(','), '--leases', String(leases), '--granted'],
      ...['--outstanding', String(outstanding), ...common(running)],
      ...(streams === undefined ? [] : ['--streams', String(streams)]),
    ]);
    const { perSecond, latencyMs, serverMicrosPerKeepalive, clientCpus } = result;
    const { p50, p99 } = latencyMs;
    return { perSecond, p50, p99, serverMicros: serverMicrosPerKeepalive, clientCpus };
  }
}

function common({ subject, settings }: Running): string[] {
  const { seconds, warmup } = settings;
  return ['--seconds', String(seconds), '--warmup', String(warmup), '--pids', subject.pids.join(',')];
}
