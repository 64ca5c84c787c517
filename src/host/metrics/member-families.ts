/**
 * What etcd tells of a member, by etcd's names: what the member's thread has counted in its cells, one row a series.
 *
 * Some of etcd's work has no equal here; its series are shown and stay at 0, so that whoever asks for them gets an
 * answer: see `idle`.
 */
import { Histogram, type HistogramPlace, MetricCells, Scalar } from '../../transport/metric-cells.js';
import type { MetricMember } from './source.js';
import { type Family, histogramFamily, type SeriesSink, scalarFamily } from './text.js';

type Row = readonly [name: string, cell: number, help: string];

const gauges: readonly Row[] = [
  ['etcd_server_has_leader', Scalar.hasLeader, '1 when the member knows a leader, else 0.'],
  ['etcd_server_is_leader', Scalar.isLeader, '1 when the member leads, else 0.'],
  ['etcd_server_is_learner', Scalar.isLearner, '1 when the member is a learner, else 0.'],
  ['etcd_server_proposals_committed_total', Scalar.proposalsCommitted, "Raft's committed index."],
  ['etcd_server_proposals_applied_total', Scalar.proposalsApplied, 'The index of the last applied entry.'],
  ['etcd_server_proposals_pending', Scalar.proposalsPending, 'Proposals that wait to be applied.'],
  [
    'etcd_server_snapshot_apply_in_progress_total',
    Scalar.snapshotApplyInProgress,
    '1 while a snapshot of the leader is installed.',
  ],
  ['etcd_mvcc_db_open_read_transactions', Scalar.dbOpenReads, 'Read transactions that hold a version of the store.'],
  ['etcd_mvcc_db_total_size_in_bytes', Scalar.dbSizeBytes, 'Bytes of the store that were ever allocated.'],
  ['etcd_debugging_mvcc_db_total_size_in_bytes', Scalar.dbSizeBytes, "The same by etcd 3.4's older name."],
  ['etcd_mvcc_db_total_size_in_use_in_bytes', Scalar.dbSizeInUseBytes, 'Bytes of the store that hold something.'],
  ['etcd_disk_wal_write_bytes_total', Scalar.walWriteBytes, 'Bytes of records written to the write-ahead log.'],
  ['etcd_disk_defrag_inflight', Scalar.defragmentationsInflight, '1 while a defragmentation runs.'],
  ['etcd_debugging_auth_revision', Scalar.authRevision, 'Revision of the users and roles.'],
  ['etcd_debugging_mvcc_compact_revision', Scalar.compactRevision, 'The last compact revision; -1 without one.'],
  ['etcd_debugging_mvcc_current_revision', Scalar.currentRevision, "The store's revision."],
  ['etcd_debugging_mvcc_keys_total', Scalar.keys, 'Keys that exist.'],
  ['etcd_debugging_mvcc_total_put_size_in_bytes', Scalar.putBytes, 'Bytes of keys and values put since the start.'],
  ['etcd_debugging_mvcc_watch_stream_total', Scalar.watchStreams, 'Open watch streams.'],
  ['etcd_debugging_mvcc_watcher_total', Scalar.watchers, 'Watchers.'],
  ['etcd_debugging_mvcc_slow_watcher_total', Scalar.slowWatchers, 'Watchers that have events to catch up with.'],
  ['etcd_debugging_mvcc_pending_events_total', Scalar.pendingEvents, 'Watch events between a write and their sending.'],
  [
    'etcd_debugging_mvcc_db_compaction_last',
    Scalar.lastCompactionSeconds,
    'Unix time of the last finished compaction; 0 without one.',
  ],
  ['kvorum_raft_term', Scalar.raftTerm, "Raft's term."],
  ['kvorum_raft_log_entries', Scalar.logEntries, 'Entries that the log keeps.'],
  ['kvorum_held_reads', Scalar.heldReads, 'Reads that wait until their client takes the answers which it has.'],
];

const counters: readonly Row[] = [
  ['etcd_server_leader_changes_seen_total', Scalar.leaderChanges, 'How often the member came to know another leader.'],
  ['etcd_server_heartbeat_send_failures_total', Scalar.heartbeatSendFailures, 'Heartbeats sent late, as leader.'],
  ['etcd_server_proposals_failed_total', Scalar.proposalsFailed, 'Proposals that timed out or were given up.'],
  ['etcd_server_read_indexes_failed_total', Scalar.readIndexesFailed, 'Read rounds that a leader change ended.'],
  ['etcd_server_slow_read_indexes_total', Scalar.slowReadIndexes, 'Read rounds that were not confirmed in time.'],
  ['etcd_server_slow_apply_total', Scalar.slowApplies, 'Requests that took longer than 100 ms to apply.'],
  ['etcd_mvcc_put_total', Scalar.puts, 'Puts applied.'],
  ['etcd_mvcc_delete_total', Scalar.deletes, 'Deletions applied, each of one key or of a range.'],
  ['etcd_mvcc_txn_total', Scalar.txns, 'Writes of more than one operation.'],
  ['etcd_mvcc_range_total', Scalar.ranges, 'Ranges read.'],
  ['etcd_debugging_mvcc_put_total', Scalar.puts, "The same by etcd 3.4's older name."],
  ['etcd_debugging_mvcc_delete_total', Scalar.deletes, "The same by etcd 3.4's older name."],
  ['etcd_debugging_mvcc_txn_total', Scalar.txns, "The same by etcd 3.4's older name."],
  ['etcd_debugging_mvcc_range_total', Scalar.ranges, "The same by etcd 3.4's older name."],
  ['etcd_debugging_mvcc_db_compaction_keys_total', Scalar.compactedRecords, 'Records that compactions removed.'],
  ['etcd_debugging_mvcc_events_total', Scalar.watchEvents, 'Watch events sent.'],
  ['etcd_debugging_lease_granted_total', Scalar.leasesGranted, 'Leases granted.'],
  ['etcd_debugging_lease_revoked_total', Scalar.leasesRevoked, 'Leases revoked, expired ones included.'],
  ['etcd_debugging_lease_renewed_total', Scalar.leasesRenewed, 'Renewals of leases by this member as leader.'],
  ['etcd_debugging_server_lease_expired_total', Scalar.leasesExpired, 'Leases whose end this member proposed.'],
];

type HistogramRow = readonly [name: string, place: HistogramPlace, help: string];

const histograms: readonly HistogramRow[] = [
  ['etcd_disk_wal_fsync_duration_seconds', Histogram.walFsync, 'Syncs of the write-ahead log.'],
  ['etcd_disk_wal_write_duration_seconds', Histogram.walWrite, 'Writes to the write-ahead log, without their sync.'],
  ['etcd_disk_backend_commit_duration_seconds', Histogram.backendCommit, 'Commits of the store, sync included.'],
  [
    'etcd_debugging_disk_backend_commit_rebalance_duration_seconds',
    Histogram.backendCommitRebalance,
    'Of commits of the store, the deletions.',
  ],
  [
    'etcd_debugging_disk_backend_commit_spill_duration_seconds',
    Histogram.backendCommitSpill,
    'Of commits of the store, the puts.',
  ],
  [
    'etcd_debugging_disk_backend_commit_write_duration_seconds',
    Histogram.backendCommitWrite,
    'Of commits of the store, the writing of pages and the sync.',
  ],
  ['etcd_disk_backend_defrag_duration_seconds', Histogram.backendDefragmentation, 'Defragmentations.'],
  ['etcd_disk_backend_snapshot_duration_seconds', Histogram.backendSnapshot, 'Snapshots sent to clients.'],
  ['etcd_snap_db_fsync_duration_seconds', Histogram.dbSnapshotFsync, "The last step of receiving a leader's state."],
  ['etcd_snap_db_save_total_duration_seconds', Histogram.dbSnapshotSave, "Receiving a leader's state, all of it."],
  ['etcd_mvcc_hash_duration_seconds', Histogram.hash, 'Calls of Hash.'],
  ['etcd_mvcc_hash_rev_duration_seconds', Histogram.hashRevision, 'Calls of HashKV.'],
  ['etcd_debugging_lease_ttl_total', Histogram.leaseTtl, 'TTLs of granted leases, in seconds.'],
  [
    'etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds',
    Histogram.compactionPauseMs,
    'Slices of compactions, during which the member does nothing else.',
  ],
  [
    'etcd_debugging_mvcc_db_compaction_total_duration_milliseconds',
    Histogram.compactionTotalMs,
    'Compactions, all slices and what came between.',
  ],
  [
    'etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds',
    Histogram.indexCompactionPauseMs,
    'Always empty: the index is compacted in the slices of the records.',
  ],
  ['kvorum_turn_duration_seconds', Histogram.turn, "Turns of the member's loop."],
  ['kvorum_turn_entries', Histogram.turnEntries, 'Entries in one write of the log.'],
  ['kvorum_doorbell_latency_seconds', Histogram.doorbell, 'From the ring of a sleeping member to its waking.'],
  ['kvorum_wal_fsync_fine_seconds', Histogram.walFsyncFine, 'Syncs of the write-ahead log, from 10 us.'],
];

const writeStages: readonly (readonly [stage: string, place: HistogramPlace])[] = [
  ['queue', Histogram.writeQueue],
  ['propose', Histogram.writePropose],
  ['persist', Histogram.writePersist],
  ['commit', Histogram.writeCommit],
  ['apply', Histogram.writeApply],
  ['reply', Histogram.writeReply],
];

/** Nothing here does what these count: raft snapshots are not files, there is no v2 store, this is not the proxy. */
const idle = {
  counters: [
    'etcd_debugging_store_expires_total',
    'etcd_debugging_store_watch_requests_total',
    'etcd_grpc_proxy_events_coalescing_total',
  ],
  gauges: [
    'etcd_debugging_store_watchers',
    'etcd_grpc_proxy_cache_hits_total',
    'etcd_grpc_proxy_cache_keys_total',
    'etcd_grpc_proxy_cache_misses_total',
    'etcd_grpc_proxy_watchers_coalescing_total',
  ],
  /** Etcd shows a series for each `action` of the v2 store that was ever used: here none is. */
  vectors: [
    'etcd_debugging_store_reads_total',
    'etcd_debugging_store_reads_failed_total',
    'etcd_debugging_store_writes_total',
    'etcd_debugging_store_writes_failed_total',
  ],
  histograms: [
    'etcd_snap_fsync_duration_seconds',
    'etcd_debugging_snap_save_marshalling_duration_seconds',
    'etcd_debugging_snap_save_total_duration_seconds',
  ],
} as const;

const idleHelp = 'Always 0: nothing in this server does what it counts in etcd.';

/** Families of what a member's thread counts. */
export function memberFamilies(member: () => MetricMember | undefined): Family[] {
  // What is shown before there is a member.
  const none = new MetricCells();
  const cells = (): MetricCells => member()?.metrics ?? none;
  const scalar = (type: 'counter' | 'gauge', [name, cell, help]: Row): Family =>
    scalarFamily(type, name, help, sink => sink.series([], cells().get(cell)));
  const histogram = ([name, place, help]: HistogramRow): Family =>
    histogramFamily(name, help, sink => {
      const { bounds, counts, sum } = cells().read(place);
      sink.histogram([], bounds, counts, sum);
    });
  return [
    ...gauges.map(row => scalar('gauge', row)),
    ...counters.map(row => scalar('counter', row)),
    ...histograms.map(histogram),
    ...idleFamilies(),
    histogramFamily('etcd_server_apply_duration_seconds', 'Requests applied, by what they ask for.', sink => {
      for (const { op, success, value } of cells().readApplies()) {
        const labels = [
          ['version', 'v3'],
          ['op', op],
          ['success', success],
        ] as const;
        sink.histogram(labels, value.bounds, value.counts, value.sum);
      }
    }),
    histogramFamily('etcd_server_range_duration_seconds', 'Ranges read for a client.', sink => {
      for (const [success, place] of [
        ['true', Histogram.rangeOk],
        ['false', Histogram.rangeFailed],
      ] as const) {
        const { bounds, counts, sum } = cells().read(place);
        sink.histogram([['success', success]], bounds, counts, sum);
      }
    }),
    histogramFamily(
      'kvorum_write_stage_seconds',
      'Where the time of a write goes that a client sent to this member, one write of many.',
      sink => {
        for (const [stage, place] of writeStages) {
          const { bounds, counts, sum } = cells().read(place);
          sink.histogram([['stage', stage]], bounds, counts, sum);
        }
      },
    ),
  ];
}

function idleFamilies(): Family[] {
  const zero = (sink: SeriesSink): void => sink.series([], 0);
  const { bounds } = Histogram.walFsync;
  const empty = new Array<number>(bounds.length + 1).fill(0);
  return [
    ...idle.counters.map(name => scalarFamily('counter', name, idleHelp, zero)),
    ...idle.vectors.map(name => scalarFamily('counter', name, idleHelp, () => undefined)),
    ...idle.gauges.map(name => scalarFamily('gauge', name, idleHelp, zero)),
    ...idle.histograms.map(name => histogramFamily(name, idleHelp, sink => sink.histogram([], bounds, empty, 0))),
  ];
}
