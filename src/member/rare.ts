/**
 * The parts of a member that a plain start does without, loaded when they are first needed: three threads load their
 * modules at once on few cores, more than half a millisecond each, and most of a start is that.
 *
 * require(), because a turn is synchronous; it loads ES modules too, and once. The types come without loading anything.
 */
import { createRequire } from 'node:module';
import type * as BackendHash from './apply/backend-hash.js';
import type * as AuthCalls from './auth-calls.js';
import type * as AutoCompaction from './auto-compaction.js';
import type * as CompactHashCheck from './compact-hash-check.js';
import type * as CorruptionCheck from './corruption-check.js';
import type * as Defragmentation from './defragmentation.js';
import type * as SnapshotStreams from './snapshot-streams.js';
import type * as Defragmenter from './store/defragmenter.js';
import type * as Exporter from './transfer/exporter.js';
import type * as Importer from './transfer/importer.js';

const load = createRequire(import.meta.url);

export const rare = {
  /** Users, roles, logins. */
  authCalls: () => load('./auth-calls.js') as typeof AuthCalls,
  /** Compaction that was asked for by a setting. */
  autoCompaction: () => load('./auto-compaction.js') as typeof AutoCompaction,
  /** The hash of the whole store. */
  backendHash: () => load('./apply/backend-hash.js') as typeof BackendHash,
  /** Comparing hashes with the others. */
  compactHashCheck: () => load('./compact-hash-check.js') as typeof CompactHashCheck,
  corruptionCheck: () => load('./corruption-check.js') as typeof CorruptionCheck,
  /** Defragmentation, and what it writes with. */
  defragmentation: () => load('./defragmentation.js') as typeof Defragmentation,
  defragmenter: () => load('./store/defragmenter.js') as typeof Defragmenter,
  /** The whole state, for another member and from one. */
  exporter: () => load('./transfer/exporter.js') as typeof Exporter,
  importer: () => load('./transfer/importer.js') as typeof Importer,
  /** Snapshot files for clients. */
  snapshotStreams: () => load('./snapshot-streams.js') as typeof SnapshotStreams,
} as const;
