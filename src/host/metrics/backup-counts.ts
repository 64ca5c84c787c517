/**
 * What came of scheduled backups, by cluster; the numbers go on while the process does. Whoever counts loads nothing
 * else of the metrics.
 */

/** The scheduled backups of one cluster. */
export interface BackupCounts {
  saved: number;
  failed: number;
  /** Unix seconds; 0: none yet. */
  lastSavedSeconds: number;
  lastBytes: number;
}

const backups = new Map<string, BackupCounts>();

/** The counts of a cluster, by its id. */
export function backupCountsOf(clusterId: string): BackupCounts {
  const counts = backups.get(clusterId) ?? { saved: 0, failed: 0, lastSavedSeconds: 0, lastBytes: 0 };
  backups.set(clusterId, counts);
  return counts;
}

/** All of them, by cluster id. */
export function allBackupCounts(): ReadonlyMap<string, BackupCounts> {
  return backups;
}
