/**
 * What is true of the whole process, the same on every member's endpoint: memory, CPU, event loop, files, backups.
 *
 *     process_*, nodejs_*      prom-client's own, made once: they observe the garbage collector and the event loop
 *     os_fd_*                  etcd's names for the process's files
 *     kvorum_backup*           scheduled backups by cluster
 *
 * The text is good for a moment: three endpoints that are scraped together share it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import prometheus from 'prom-client';
import { allBackupCounts } from './backup-counts.js';
import { type Family, scalarFamily } from './text.js';

const goodForMs = 500;
/** etcd looks at its files this often. */
const filesGoodForMs = 2_000;

const registry = new prometheus.Registry();
prometheus.collectDefaultMetrics({ register: registry });
// Gauges whose names say counter, which promtool rightly refuses; the same by type are without the suffix.
for (const what of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${what}_total`);

let text: Promise<string> | undefined;
let textMs = 0;

/** The families of the process, with a line's end behind the last line. */
export function processText(): Promise<string> {
  const nowMs = performance.now();
  if (text !== undefined && nowMs - textMs < goodForMs) return text;
  textMs = nowMs;
  text = registry.metrics().then(own => `${own.trimEnd()}\n${families.map(family => family.text()).join('\n')}\n`);
  return text;
}

/** What prom-client calls the text format. */
export const contentType = registry.contentType;

const families: readonly Family[] = [
  scalarFamily('gauge', 'os_fd_used', 'Files that are open.', sink => sink.series([], files().used)),
  scalarFamily('gauge', 'os_fd_limit', 'Files that may be open.', sink => sink.series([], files().limit)),
  scalarFamily('gauge', 'process_virtual_memory_max_bytes', 'Address space that may be used; -1: no limit.', sink =>
    sink.series([], limitOf('Max address space')),
  ),
  scalarFamily('counter', 'process_network_receive_bytes_total', 'Bytes of IP packets received by the host.', sink =>
    sink.series([], octets('InOctets')),
  ),
  scalarFamily('counter', 'process_network_transmit_bytes_total', 'Bytes of IP packets sent by the host.', sink =>
    sink.series([], octets('OutOctets')),
  ),
  scalarFamily('counter', 'kvorum_backups_total', 'Scheduled backups that were saved or failed.', sink => {
    for (const [cluster, { saved, failed }] of allBackupCounts()) {
      sink.series(
        [
          ['cluster', cluster],
          ['result', 'saved'],
        ],
        saved,
      );
      sink.series(
        [
          ['cluster', cluster],
          ['result', 'failed'],
        ],
        failed,
      );
    }
  }),
  scalarFamily(
    'gauge',
    'kvorum_backup_last_saved_timestamp_seconds',
    'When the newest scheduled backup was saved, in Unix seconds; 0: none yet.',
    sink => {
      for (const [cluster, { lastSavedSeconds }] of allBackupCounts())
        sink.series([['cluster', cluster]], lastSavedSeconds);
    },
  ),
  scalarFamily('gauge', 'kvorum_backup_last_bytes', 'Size of the newest scheduled backup.', sink => {
    for (const [cluster, { lastBytes }] of allBackupCounts()) sink.series([['cluster', cluster]], lastBytes);
  }),
];

let filesKnown = { used: 0, limit: 0 };
let filesMs = Number.NEGATIVE_INFINITY;

function files(): { readonly used: number; readonly limit: number } {
  const nowMs = performance.now();
  if (nowMs - filesMs < filesGoodForMs) return filesKnown;
  filesMs = nowMs;
  filesKnown = { used: openFiles(), limit: limitOf('Max open files') };
  return filesKnown;
}

function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}

/** A soft limit of the process; -1: none. Linux only, as etcd's own. */
function limitOf(name: string): number {
  const line = linesOf('/proc/self/limits').find(text => text.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0] ?? '0';
  return soft === 'unlimited' ? -1 : Number(soft);
}

/** A counter of /proc/self/net/netstat: a line of names, then one of numbers. */
function octets(name: string): number {
  const [names = '', numbers = ''] = linesOf('/proc/self/net/netstat').filter(line => line.startsWith('IpExt:'));
  const at = names.split(' ').indexOf(name);
  return at === -1 ? 0 : Number(numbers.split(' ')[at]);
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}
