/**
 * Members of a running cluster end at once and come back, one at a time, every few seconds, the leader more often than the
 * others.
 */
import type { Prng } from '../../src/base/prng.js';
import type { Cluster, ClusterOptions } from '../../src/index.js';
import { pause } from './load.js';

/** Small limits make rare paths common: a member that was away for a second comes back by snapshot. */
export const loadedCluster: ClusterOptions = {
  ...{ members: 3, logLevel: 'warn', watchProgressNotifyIntervalMs: 500 },
  ...{ snapshotCount: 200, snapshotCatchUpEntries: 20 },
};

const betweenMs = { min: 300, max: 2_500 } as const;
const downMs = { min: 50, max: 2_500 } as const;

/** Kills and starts members until the signal comes; then all are up. */
export function killMembers(cluster: Cluster, told: (member: string) => void = () => {}) {
  return async (prng: Prng, stop: AbortSignal): Promise<void> => {
    const between = ({ min, max }: typeof betweenMs | typeof downMs) => pause(min + prng.nextBelow(max - min), stop);
    for (;;) {
      await between(betweenMs);
      if (stop.aborted) return;
      const anyone = cluster.members[prng.nextBelow(cluster.members.length)]!;
      const member = prng.nextBelow(3) === 0 ? (cluster.leader() ?? anyone) : anyone;
      await member.kill();
      told(member.name);
      await between(downMs);
      await member.start();
    }
  };
}
