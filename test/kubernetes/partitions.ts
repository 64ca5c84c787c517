/**
 * A cluster whose members can be cut off from each other.
 *
 * The links between members are shared memory with switches for faults in it. The library keeps them to itself; they
 * are seen where a member's thread is told what to be, which is the same memory in every life of the member.
 */
import { MemberThread } from '../../src/host/member-thread.js';
import { type Cluster, type ClusterOptions, startCluster } from '../../src/index.js';
import { LinkFaults } from '../../src/transport/faults.js';

export interface PartitionedCluster {
  readonly cluster: Cluster;
  /** Links by the positions of sender and receiver. */
  readonly links: readonly (readonly (LinkFaults | undefined)[])[];
}

/** Starts a cluster and finds its links. */
export async function startPartitioned(options: ClusterOptions): Promise<PartitionedCluster> {
  const toMember: (readonly (LinkFaults | undefined)[])[] = [];
  const { start } = MemberThread.prototype;
  MemberThread.prototype.start = function (this: MemberThread, boot) {
    const row: (LinkFaults | undefined)[] = [];
    for (const { position, fromPeer } of boot.peers) row[position] = new LinkFaults(fromPeer);
    toMember[boot.position] = row;
    return start.call(this, boot);
  };
  try {
    const cluster = await startCluster(options);
    return { cluster, links: toMember.map((_, from) => toMember.map(row => row[from])) };
  } finally {
    MemberThread.prototype.start = start;
  }
}

/** Cuts a member off: it hears nothing, and is not heard unless `deaf`. Returns what heals it. */
export function isolate({ links }: PartitionedCluster, position: number, deaf: boolean): () => void {
  const heard = links.map(row => row[position]);
  const cut = [...heard, ...(deaf ? [] : links[position]!)].filter(link => link !== undefined);
  for (const link of cut) link.set({ cut: true });
  return () => {
    for (const link of cut) link.set({});
  };
}
