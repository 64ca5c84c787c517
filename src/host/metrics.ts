/**
 * /metrics in Prometheus' text format: what is true of the whole process, on every endpoint alike.
 *
 *     process_*, nodejs_*      memory, CPU, event loop, collections            (the same value on each member's endpoint)
 *     kvorum_backups_total     scheduled backups by cluster and result
 *     kvorum_backup_last_*     when the newest was saved, and its size
 *
 * prom-client is loaded by the first scrape: a cluster that nobody scrapes does without it. Until then, and for whoever
 * counts, there are only numbers.
 */
import type { Registry } from 'prom-client';

/** The scheduled backups of one cluster. */
export interface BackupCounts {
  saved: number;
  failed: number;
  /** Unix seconds; 0: none yet. */
  lastSavedSeconds: number;
  lastBytes: number;
}

const backups = new Map<string, BackupCounts>();
let registry: Promise<Registry> | undefined;

/** The counts of a cluster, by its id; they go on while the process does. */
export function backupCountsOf(clusterId: string): BackupCounts {
  const counts = backups.get(clusterId) ?? { saved: 0, failed: 0, lastSavedSeconds: 0, lastBytes: 0 };
  backups.set(clusterId, counts);
  return counts;
}

/** One scrape: the content type and the text. */
export async function scrape(): Promise<{ readonly contentType: string; readonly text: string }> {
  registry ??= createRegistry();
  const metrics = await registry;
  return { contentType: metrics.contentType, text: await metrics.metrics() };
}

async function createRegistry(): Promise<Registry> {
  const { Counter, Gauge, Registry, collectDefaultMetrics } = (await import('prom-client')).default;
  const created = new Registry();
  collectDefaultMetrics({ register: created });
  const registers = [created];
  new Counter({
    name: 'kvorum_backups_total',
    help: 'Scheduled backups that were saved or failed.',
    labelNames: ['cluster', 'result'],
    registers,
    collect() {
      this.reset();
      for (const [cluster, { saved, failed }] of backups) {
        this.inc({ cluster, result: 'saved' }, saved);
        this.inc({ cluster, result: 'failed' }, failed);
      }
    },
  });
  new Gauge({
    name: 'kvorum_backup_last_saved_timestamp_seconds',
    help: 'When the newest scheduled backup was saved, in Unix seconds; 0: none yet.',
    labelNames: ['cluster'],
    registers,
    collect() {
      for (const [cluster, { lastSavedSeconds }] of backups) this.set({ cluster }, lastSavedSeconds);
    },
  });
  new Gauge({
    name: 'kvorum_backup_last_bytes',
    help: 'Size of the newest scheduled backup.',
    labelNames: ['cluster'],
    registers,
    collect() {
      for (const [cluster, { lastBytes }] of backups) this.set({ cluster }, lastBytes);
    },
  });
  return created;
}
