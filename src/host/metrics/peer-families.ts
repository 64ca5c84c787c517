/**
 * What a member counts of each of its peers. Ids are written as etcd writes them: hexadecimal, without leading zeros.
 */
import { type HistogramPlace, PeerHistogram, PeerScalar } from '../../transport/metric-cells.js';
import type { MetricMember } from './source.js';
import { type Family, histogramFamily, type Labels, scalarFamily } from './text.js';

type Kind = 'counter' | 'gauge';
type Row = readonly [name: string, kind: Kind, label: 'To' | 'From', cell: number, help: string];

const rows: readonly Row[] = [
  ['etcd_network_peer_sent_bytes_total', 'counter', 'To', PeerScalar.sentBytes, 'Bytes sent to the peer.'],
  ['etcd_network_peer_received_bytes_total', 'counter', 'From', PeerScalar.receivedBytes, 'Bytes received from it.'],
  [
    'etcd_network_peer_sent_failures_total',
    'counter',
    'To',
    PeerScalar.sendFailures,
    'Messages that found no room, or a peer that has not been heard of for five seconds.',
  ],
  ['etcd_network_snapshot_send_success', 'counter', 'To', PeerScalar.snapshotsSent, 'States sent to the peer.'],
  ['etcd_network_snapshot_send_failures', 'counter', 'To', PeerScalar.snapshotSendFailures, 'States given up.'],
  [
    'etcd_network_snapshot_send_inflights_total',
    'gauge',
    'To',
    PeerScalar.snapshotSendsInflight,
    'States on their way to the peer.',
  ],
  [
    'etcd_network_snapshot_receive_success',
    'counter',
    'From',
    PeerScalar.snapshotsReceived,
    'States received from the peer.',
  ],
  [
    'etcd_network_snapshot_receive_failures',
    'counter',
    'From',
    PeerScalar.snapshotReceiveFailures,
    'States of the peer that came damaged or not to their end.',
  ],
  [
    'etcd_network_snapshot_receive_inflights_total',
    'gauge',
    'From',
    PeerScalar.snapshotReceivesInflight,
    'States on their way from the peer.',
  ],
];

const pairRows: readonly (readonly [name: string, kind: Kind, cell: number | undefined, help: string])[] = [
  ['etcd_network_active_peers', 'gauge', PeerScalar.active, '1 while the peer is heard of, else 0.'],
  ['etcd_network_disconnected_peers_total', 'counter', PeerScalar.disconnections, 'How often the peer went silent.'],
  ['etcd_network_known_peers', 'gauge', undefined, '1 for each peer that the member knows.'],
];

const histogramRows: readonly (readonly [name: string, label: 'To' | 'From', place: HistogramPlace, help: string])[] = [
  ['etcd_network_peer_round_trip_time_seconds', 'To', PeerHistogram.roundTrip, 'Round trips to the peer.'],
  ['kvorum_peer_round_trip_fine_seconds', 'To', PeerHistogram.roundTripFine, 'The same, from 10 us.'],
  [
    'etcd_network_snapshot_send_total_duration_seconds',
    'To',
    PeerHistogram.snapshotSend,
    'Sending the whole state to the peer.',
  ],
  [
    'etcd_network_snapshot_receive_total_duration_seconds',
    'From',
    PeerHistogram.snapshotReceive,
    'Receiving the whole state from the peer.',
  ],
];

/** Families with a series for each peer of the member. */
export function peerFamilies(member: () => MetricMember | undefined): Family[] {
  const each = (visit: (id: string, local: string, from: number, found: MetricMember) => void): void => {
    const found = member();
    for (const { id, from } of found?.metrics.peers() ?? []) {
      visit(id.toString(16), (found as MetricMember).id.toString(16), from, found as MetricMember);
    }
  };
  return [
    ...rows.map(([name, kind, label, cell, help]) =>
      scalarFamily(kind, name, help, sink =>
        each((id, _local, from, { metrics }) => sink.series([[label, id]], metrics.get(from + cell))),
      ),
    ),
    ...pairRows.map(([name, kind, cell, help]) =>
      scalarFamily(kind, name, help, sink =>
        each((id, local, from, { metrics }) => {
          const labels: Labels = [
            ['Local', local],
            ['Remote', id],
          ];
          sink.series(labels, cell === undefined ? 1 : metrics.get(from + cell));
        }),
      ),
    ),
    ...histogramRows.map(([name, label, place, help]) =>
      histogramFamily(name, help, sink =>
        each((id, _local, from, { metrics }) => {
          const { bounds, counts, sum } = metrics.read(place, from);
          sink.histogram([[label, id]], bounds, counts, sum);
        }),
      ),
    ),
  ];
}
