/**
 * Where the numbers of an endpoint's scrape come from. All of it is at hand on the main thread or in shared memory: no
 * member is asked, so none can keep a scrape waiting.
 */
import type { StatusCells } from '../../transport/control.js';
import type { LinkBuffers } from '../../transport/layout.js';
import type { MetricCells } from '../../transport/metric-cells.js';
import type { GrpcCounts } from '../grpc/counts.js';
import type { HealthCounts } from '../health.js';

/** A ring between the member and `link`: the host, or a peer's id. */
export interface RingView {
  readonly link: string;
  /** Towards the member, or from it. */
  readonly direction: 'in' | 'out';
  readonly buffers: LinkBuffers;
  /** Bytes that wait beside the ring, as far as the host knows. */
  readonly backlogBytes: number;
}

/** The member behind an endpoint, as metrics see it. */
export interface MetricMember {
  readonly id: bigint;
  readonly name: string;
  readonly clusterId: bigint;
  readonly quotaBytes: number;
  /** etcd's feature gates that are in effect here. */
  readonly openGates: readonly string[];
  readonly metrics: MetricCells;
  readonly cells: StatusCells;
  readonly running: boolean;
  readonly starts: number;
  /** Bytes that the host's end of the rings sent and received. */
  readonly ringBytes: { readonly toMember: number; readonly fromMember: number };
  rings(): RingView[];
  /** Seconds that the thread's event loop was not waiting; undefined: there is no thread. */
  busySeconds(): number | undefined;
}

/** An endpoint. */
export interface MetricsSource {
  readonly member: () => MetricMember | undefined;
  readonly grpc: GrpcCounts;
  readonly health: HealthCounts;
  /** Open HTTP/2 connections, and calls being served. */
  readonly load: () => { readonly connections: number; readonly calls: number };
}
