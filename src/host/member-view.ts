/**
 * A member as its metrics show it: who it is, what its thread counts, and the rings to and from it.
 */
import { type MemberSettings, quotaBytesDefault, type StatusCells } from '../transport/control.js';
import type { MetricCells } from '../transport/metric-cells.js';
import type { MemberHandle } from './member-handle.js';
import type { MetricMember, RingView } from './metrics/source.js';

/** What a scrape asks of the member behind an endpoint; made once, asked hundreds of times a scrape. */
export class MemberView implements MetricMember {
  readonly id: bigint;
  readonly name: string;
  readonly clusterId: bigint;
  readonly quotaBytes: number;
  readonly openGates: readonly string[];
  readonly #handle: MemberHandle;

  constructor(handle: MemberHandle) {
    const { clusterId, identity, settings } = handle.recipe;
    const { quotaBackendBytes } = settings;
    this.id = identity.id;
    this.name = identity.name;
    this.clusterId = clusterId;
    this.quotaBytes = quotaBackendBytes === 0 ? quotaBytesDefault : Math.max(0, quotaBackendBytes);
    this.openGates = openGates(settings);
    this.#handle = handle;
  }

  /** Each start of the thread has its own. */
  get metrics(): MetricCells {
    return this.#handle.metrics;
  }

  get cells(): StatusCells {
    return this.#handle.cells;
  }

  get running(): boolean {
    return this.#handle.running;
  }

  get starts(): number {
    return this.#handle.starts;
  }

  get ringBytes(): { readonly toMember: number; readonly fromMember: number } {
    return this.#handle.port.ringBytes;
  }

  rings(): RingView[] {
    return ringsOf(this.#handle);
  }

  busySeconds(): number | undefined {
    return this.#handle.busySeconds();
  }
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
