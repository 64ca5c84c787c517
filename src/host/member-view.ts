/**
 * A member as its metrics show it: who it is, what its thread counts, and the rings to and from it.
 */
import { type MemberSettings, quotaBytesDefault } from '../transport/control.js';
import type { MemberHandle } from './member-handle.js';
import type { MetricMember, RingView } from './metrics/source.js';

/** What a scrape asks of the member behind an endpoint. */
export function memberView(handle: MemberHandle): MetricMember {
  const { clusterId, identity, settings } = handle.recipe;
  const { quotaBackendBytes } = settings;
  return {
    ...{ id: identity.id, name: identity.name, clusterId },
    quotaBytes: quotaBackendBytes === 0 ? quotaBytesDefault : Math.max(0, quotaBackendBytes),
    openGates: openGates(settings),
    ...{ metrics: handle.metrics, cells: handle.cells, running: handle.running, starts: handle.starts },
    ringBytes: handle.port.ringBytes,
    rings: () => ringsOf(handle),
    busySeconds: () => handle.busySeconds(),
  };
}

function openGates(settings: MemberSettings): string[] {
  const { initialCorruptCheck, compactHashCheckIntervalMs, leaseCheckpointIntervalMs } = settings;
  const gates = [
    ['LeaseCheckpoint', leaseCheckpointIntervalMs > 0],
    ['LeaseCheckpointPersist', leaseCheckpointIntervalMs > 0],
    ['InitialCorruptCheck', initialCorruptCheck],
    ['CompactHashCheck', compactHashCheckIntervalMs > 0],
    ['StopGRPCServiceOnDefrag', settings.stopGrpcServiceOnDefrag],
  ] as const;
  return gates.filter(([, isOpen]) => isOpen).map(([name]) => name);
}

function ringsOf({ hostLinks, port, recipe }: MemberHandle): RingView[] {
  const rings: RingView[] = [];
  if (hostLinks !== undefined) {
    rings.push(
      { link: 'host', direction: 'in', buffers: hostLinks.fromHost, backlogBytes: port.backlogBytes },
      { link: 'host', direction: 'out', buffers: hostLinks.toHost, backlogBytes: 0 },
    );
  }
  for (const { id, fromPeer, toPeer } of recipe.peers()) {
    const link = id.toString(16);
    rings.push(
      { link, direction: 'in', buffers: fromPeer, backlogBytes: 0 },
      { link, direction: 'out', buffers: toPeer, backlogBytes: 0 },
    );
  }
  return rings;
}
