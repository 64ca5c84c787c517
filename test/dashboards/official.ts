/**
 * What etcd's official Grafana dashboard and alert rules ask of Prometheus, after their published description: the same
 * series, labels, functions and limits, in our own spelling. The names of the alerts are etcd's.
 */
const job = 'job=~".*etcd.*"';
const selector = `${job}, job="$job"`;
const window = '$__rate_interval';
const badCodes = 'Unknown|FailedPrecondition|ResourceExhausted|Internal|Unavailable|DataLoss|DeadlineExceeded';

const streams = (service: string): string => {
  const labels = `{${selector}, grpc_service="etcdserverpb.${service}", grpc_type="bidi_stream"}`;
  return `sum(grpc_server_started_total${labels}) - sum(grpc_server_handled_total${labels})`;
};
const p99 = (histogram: string): string =>
  `histogram_quantile(0.99, sum(rate(${histogram}_bucket{${selector}}[${window}])) by (instance, le))`;
const rate = (series: string): string => `rate(${series}{${selector}}[${window}])`;

/** Expressions of the dashboard by panel; the last four are those of its Grafana 7 variant. */
export const officialPanels: readonly (readonly [panel: string, expression: string])[] = [
  ['Up', `sum(etcd_server_has_leader{${selector}})`],
  ['RPC rate', `sum(rate(grpc_server_started_total{${selector}, grpc_type="unary"}[${window}]))`],
  [
    'RPC failed rate',
    `sum(rate(grpc_server_handled_total{${selector}, grpc_type="unary", grpc_code=~"${badCodes}"}[${window}]))`,
  ],
  ['Watch streams', streams('Watch')],
  ['Lease streams', streams('Lease')],
  ['DB size', `etcd_mvcc_db_total_size_in_bytes{${selector}}`],
  ['WAL fsync', p99('etcd_disk_wal_fsync_duration_seconds')],
  ['DB fsync', p99('etcd_disk_backend_commit_duration_seconds')],
  ['Memory', `process_resident_memory_bytes{${selector}}`],
  ['Client traffic in', rate('etcd_network_client_grpc_received_bytes_total')],
  ['Client traffic out', rate('etcd_network_client_grpc_sent_bytes_total')],
  ['Peer traffic in', `sum(${rate('etcd_network_peer_received_bytes_total')}) by (instance)`],
  ['Peer traffic out', `sum(${rate('etcd_network_peer_sent_bytes_total')}) by (instance)`],
  ['Leader elections a day', `changes(etcd_server_leader_changes_seen_total{${selector}}[1d])`],
  ['Peer round trip time', p99('etcd_network_peer_round_trip_time_seconds')],
  ['Proposals failed', `sum(${rate('etcd_server_proposals_failed_total')})`],
  ['Proposals pending', `sum(etcd_server_proposals_pending{${selector}})`],
  ['Proposals committed', `sum(${rate('etcd_server_proposals_committed_total')})`],
  ['Proposals applied', `sum(${rate('etcd_server_proposals_applied_total')})`],
];

const perMethod = (labels: string): string =>
  `sum(rate(grpc_server_handled_total{${labels}}[5m])) without (grpc_type, grpc_code)`;
const failedShare = `100 * ${perMethod(`${job}, grpc_code=~"${badCodes}"`)} / ${perMethod(job)}`;
const slowest = (histogram: string, labels = ''): string =>
  `histogram_quantile(0.99, rate(${histogram}_bucket{${job}${labels}}[5m]))`;

/** The alert rules: name, how long they must hold, condition. */
export const officialAlerts: readonly (readonly [name: string, holds: string, condition: string])[] = [
  [
    'etcdMembersDown',
    '20m',
    `max without (endpoint) (sum without (instance) (up{${job}} == bool 0) or count without (To) (
      sum without (instance) (rate(etcd_network_peer_sent_failures_total{${job}}[120s])) > 0.01)) > 0`,
  ],
  [
    'etcdInsufficientMembers',
    '3m',
    `sum(up{${job}} == bool 1) without (instance) < ((count(up{${job}}) without (instance) + 1) / 2)`,
  ],
  ['etcdNoLeader', '1m', `etcd_server_has_leader{${job}} == 0`],
  [
    'etcdHighNumberOfLeaderChanges',
    '5m',
    `increase((max without (instance) (etcd_server_leader_changes_seen_total{${job}}) or 0 * absent(
      etcd_server_leader_changes_seen_total{${job}}))[15m:1m]) >= 4`,
  ],
  ['etcdHighNumberOfFailedGRPCRequestsWarning', '10m', `${failedShare} > 1`],
  ['etcdHighNumberOfFailedGRPCRequestsCritical', '5m', `${failedShare} > 5`],
  [
    'etcdGRPCRequestsSlow',
    '10m',
    `histogram_quantile(0.99, sum(rate(grpc_server_handling_seconds_bucket{${job}, grpc_method!="Defragment",
      grpc_type="unary"}[5m])) without (grpc_type)) > 0.15`,
  ],
  ['etcdMemberCommunicationSlow', '10m', `${slowest('etcd_network_peer_round_trip_time_seconds')} > 0.15`],
  ['etcdHighNumberOfFailedProposals', '15m', `rate(etcd_server_proposals_failed_total{${job}}[15m]) > 5`],
  ['etcdHighFsyncDurationsWarning', '10m', `${slowest('etcd_disk_wal_fsync_duration_seconds')} > 0.5`],
  ['etcdHighFsyncDurationsCritical', '10m', `${slowest('etcd_disk_wal_fsync_duration_seconds')} > 1`],
  ['etcdHighCommitDurations', '10m', `${slowest('etcd_disk_backend_commit_duration_seconds')} > 0.25`],
  [
    'etcdDatabaseQuotaLowSpace',
    '10m',
    `(last_over_time(etcd_mvcc_db_total_size_in_bytes{${job}}[5m])
      / last_over_time(etcd_server_quota_backend_bytes{${job}}[5m])) * 100 > 95`,
  ],
  [
    'etcdExcessiveDatabaseGrowth',
    '10m',
    `predict_linear(etcd_mvcc_db_total_size_in_bytes{${job}}[4h], 4 * 60 * 60) > etcd_server_quota_backend_bytes{${job}}`,
  ],
  [
    'etcdDatabaseHighFragmentationRatio',
    '10m',
    `(last_over_time(etcd_mvcc_db_total_size_in_use_in_bytes{${job}}[5m])
      / last_over_time(etcd_mvcc_db_total_size_in_bytes{${job}}[5m])) < 0.5
      and etcd_mvcc_db_total_size_in_use_in_bytes{${job}} > 104857600`,
  ],
];

/** The rules as a file for Prometheus. */
export function officialRules(): string {
  const rules = officialAlerts.map(([alert, holds, condition]) => ({ alert, for: holds, expr: condition }));
  // JSON is YAML.
  return JSON.stringify({ groups: [{ name: 'etcd', rules }] });
}

/** The series an expression reads, each with its labels: a quiet alert on series that do not exist would say nothing. */
export function seriesOf(expression: string): string[] {
  return [...expression.matchAll(/\w+\{[^}]*\}/g)].map(([series]) => series);
}
