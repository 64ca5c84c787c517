/**
 * Members of a running cluster are killed or cut off and come back, one at a time, all the time, the leader more often
 * than the others.
 */
import type { Prng } from '../../src/base/prng.js';
import type { Cluster, ClusterOptions } from '../../src/index.js';
import { pause } from './load.js';

/** Small limits make rare paths common: a member that was away for a second comes back by snapshot. */
export const loadedCluster: ClusterOptions = {
  ...{ members: 3, logLevel: 'warn', watchProgressNotifyIntervalMs: 500 },
  ...{ snapshotCount: 200, snapshotCatchUpEntries: 20 },
};

/** A call that a member without a leader does not answer is given up soon: the load goes on elsewhere. */
export const callDeadlineMs = 2_000;

const betweenMs = { min: 300, max: 2_500 } as const;
const downMs = { min: 50, max: 2_500 } as const;
/** Three election timeouts without a leader end the streams that require one. */
const isolatedMs = { min: 200, max: 6_000 } as const;

export interface FaultCounts {
  kills: number;
  isolations: number;
}

/** Kills, starts and isolates members until the signal comes; then all is well. */
export function disturb(cluster: Cluster, counts: FaultCounts) {
  const { members } = cluster;
  return async (prng: Prng, stop: AbortSignal): Promise<void> => {
    const wait = ({ min, max }: { min: number; max: number }) => pause(min + prng.nextBelow(max - min), stop);
    for (;;) {
      await wait(betweenMs);
      if (stop.aborted) return;
      const anyone = members[prng.nextBelow(members.length)]!;
      const member = prng.nextBelow(3) === 0 ? (cluster.leader() ?? anyone) : anyone;
      if (prng.nextBelow(2) === 0) {
        counts.isolations += 1;
        const isDeaf = prng.nextBelow(4) === 0;
        const others = members.filter(other => other !== member);
        if (isDeaf) for (const other of others) cluster.disturb(other, member, { cut: true });
        else cluster.partition([member]);
        await wait(isolatedMs);
        cluster.heal();
      } else {
        counts.kills += 1;
        await member.kill();
        await wait(downMs);
        await member.start();
      }
    }
  };
}
