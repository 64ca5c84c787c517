/**
 * Who answers at an endpoint, how it is, and the rings between its member and the others.
 */
import { etcdVersion, kvorumVersion } from '../../base/version.js';
import { alarmBit, Cell } from '../../transport/control.js';
import { CELL_HEAD, CELL_TAIL, CONTROL_BYTES, ringBytes } from '../../transport/layout.js';
import { Histogram, PeerScalar, Scalar } from '../../transport/metric-cells.js';
import { loopLag, mainBusySeconds } from './main-thread.js';
import type { MetricMember, MetricsSource, RingView } from './source.js';
import { type Family, histogramFamily, type Labels, type SeriesSink, scalarFamily } from './text.js';

const alarmNames = [
  [1, 'NOSPACE'],
  [2, 'CORRUPT'],
] as const;

/** etcd 3.6's gates, and how far they are. */
const featureGates = [
  ['AllAlpha', 'ALPHA'],
  ['AllBeta', 'BETA'],
  ['CompactHashCheck', 'ALPHA'],
  ['InitialCorruptCheck', 'ALPHA'],
  ['LeaseCheckpoint', 'ALPHA'],
  ['LeaseCheckpointPersist', 'ALPHA'],
  ['SetMemberLocalAddr', 'ALPHA'],
  ['StopGRPCServiceOnDefrag', 'ALPHA'],
  ['TxnModeWriteWithSharedBuffer', 'BETA'],
] as const;

/** Families of the endpoint itself. */
export function endpointFamilies(source: MetricsSource): Family[] {
  const { member, load } = source;
  const gauge = (name: string, help: string, collect: (sink: SeriesSink, member: MetricMember) => void): Family =>
    scalarFamily('gauge', name, help, sink => {
      const found = member();
      if (found !== undefined) collect(sink, found);
    });
  return [
    gauge('etcd_server_id', '1, labelled with the id of the member.', (sink, { id }) =>
      sink.series([['server_id', id.toString(16)]], 1),
    ),
    scalarFamily('gauge', 'etcd_server_version', '1, labelled with the etcd release whose interface is served.', sink =>
      sink.series([['server_version', etcdVersion]], 1),
    ),
    scalarFamily('gauge', 'etcd_server_go_version', '1; the label names the runtime, which is Node.js here.', sink =>
      sink.series([['server_go_version', `node-${process.versions.node}`]], 1),
    ),
    gauge('etcd_cluster_version', '1, labelled with the version the cluster has agreed on.', (sink, { cells }) => {
      const number = cells.get(Cell.clusterVersion);
      const version = `${Math.floor(number / 1_000)}.${number % 1_000}`;
      if (number > 0) sink.series([['cluster_version', version]], 1);
    }),
    gauge('etcd_server_quota_backend_bytes', 'What the store may grow to.', (sink, { quotaBytes }) =>
      sink.series([], quotaBytes),
    ),
    gauge('etcd_server_feature_enabled', '1 for the feature gates that are open, else 0.', (sink, { openGates }) => {
      for (const [name, stage] of featureGates) {
        sink.series(
          [
            ['name', name],
            ['stage', stage],
          ],
          openGates.includes(name) ? 1 : 0,
        );
      }
    }),
    gauge('kvorum_member_info', '1, labelled with who answers here.', (sink, { id, name, clusterId }) => {
      const ids: Labels = [
        ['member_id', id.toString(16)],
        ['cluster_id', clusterId.toString(16)],
      ];
      sink.series([['member', name], ...ids, ['version', kvorumVersion]], 1);
    }),
    gauge('kvorum_member_up', '1 while the thread of the member runs.', (sink, { running }) =>
      sink.series([], running ? 1 : 0),
    ),
    scalarFamily('counter', 'kvorum_member_starts_total', 'How often the thread of the member was started.', sink =>
      sink.series([], member()?.starts ?? 0),
    ),
    scalarFamily('gauge', 'kvorum_client_connections', 'Open HTTP/2 connections.', sink =>
      sink.series([], load().connections),
    ),
    scalarFamily('gauge', 'kvorum_client_calls', 'gRPC calls that are being served.', sink =>
      sink.series([], load().calls),
    ),
    ...alarmFamilies(member),
    ...ringFamilies(member),
    ...threadFamilies(member),
  ];
}

function alarmFamilies(member: () => MetricMember | undefined): Family[] {
  return [
    scalarFamily('gauge', 'etcd_debugging_server_alarms', '1 for each alarm that is active.', sink => {
      const found = member();
      const active = found?.cells.get(Cell.alarms) ?? 0;
      for (const [type, name] of alarmNames) {
        if ((active & alarmBit(type)) === 0) continue;
        const labels: Labels = [
          ['server_id', (found as MetricMember).id.toString(16)],
          ['alarm_type', name],
        ];
        sink.series(labels, 1);
      }
    }),
  ];
}

function ringFamilies(member: () => MetricMember | undefined): Family[] {
  const rings = (
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    value: (ring: RingView, found: MetricMember) => number,
  ) =>
    scalarFamily(type, name, help, sink => {
      const found = member();
      for (const ring of found?.rings() ?? []) {
        const labels: Labels = [
          ['link', ring.link],
          ['direction', ring.direction],
        ];
        sink.series(labels, value(ring, found as MetricMember));
      }
    });
  return [
    rings('counter', 'kvorum_ring_bytes_total', 'Bytes that went through the ring.', bytesOf),
    rings('gauge', 'kvorum_ring_depth_bytes', 'Bytes in the ring that have not been read yet.', ({ buffers }) => {
      const control = new Int32Array(buffers.memory, 0, CONTROL_BYTES / 4);
      // Atomic: two threads write them; the head first, so that the difference is never negative.
      const head = Atomics.load(control, CELL_HEAD);
      return (Atomics.load(control, CELL_TAIL) - head) | 0;
    }),
    rings('gauge', 'kvorum_ring_backlog_bytes', 'Bytes that wait beside a full ring.', backlogOf),
    rings('gauge', 'kvorum_ring_capacity_bytes', 'Size of the ring.', ({ buffers }) => ringBytes(buffers)),
  ];
}

function bytesOf({ link, direction }: RingView, { metrics, ringBytes: host }: MetricMember): number {
  if (link === 'host') return direction === 'in' ? host.toMember : host.fromMember;
  const peer = metrics.peers().find(({ id }) => id.toString(16) === link);
  const cell = direction === 'in' ? PeerScalar.receivedBytes : PeerScalar.sentBytes;
  return peer === undefined ? 0 : metrics.get(peer.from + cell);
}

/** The backlog of what goes out is the member's own to know. */
function backlogOf({ link, direction, backlogBytes }: RingView, { metrics }: MetricMember): number {
  if (direction === 'in') return backlogBytes;
  if (link === 'host') return metrics.get(Scalar.hostBacklogBytes);
  const peer = metrics.peers().find(({ id }) => id.toString(16) === link);
  return peer === undefined ? 0 : metrics.get(peer.from + PeerScalar.backlogBytes);
}

function threadFamilies(member: () => MetricMember | undefined): Family[] {
  return [
    scalarFamily(
      'counter',
      'kvorum_thread_busy_seconds_total',
      'Time in which the event loop of the thread was not waiting; "main" is the same for all members of a process.',
      sink => {
        sink.series([['thread', 'main']], mainBusySeconds());
        const seconds = member()?.busySeconds();
        if (seconds !== undefined) sink.series([['thread', 'member']], seconds);
      },
    ),
    histogramFamily(
      'kvorum_event_loop_lag_seconds',
      'How late timers of the thread are; "main" is the same for all members of a process.',
      sink => {
        const main = loopLag();
        sink.histogram([['thread', 'main']], main.bounds, main.counts, main.sum);
        const found = member();
        if (found === undefined) return;
        const { bounds, counts, sum } = found.metrics.read(Histogram.loopLag);
        sink.histogram([['thread', 'member']], bounds, counts, sum);
      },
    ),
  ];
}
