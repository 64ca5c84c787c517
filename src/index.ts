/**
 * kvorum as a library: a whole etcd cluster in this process, and a client for it or for any etcd.
 *
 *     import { connect, startCluster } from 'kvorum';
 *     await using cluster = await startCluster();
 *     await cluster.client().put('greeting', 'hello');
 *
 *     const client = connect({ endpoints: 'etcd.example:2379' });      // the same calls; see client/client.ts
 */
import { Cluster } from './host/cluster.js';
import type { ClusterOptions } from './host/options.js';

/**
 * Starts a cluster and resolves when it has a leader and serves. Without `dataDir` it lives in a temporary directory
 * that is removed on close. Rejects with StartError, one line that names the fix.
 */
export function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  return Cluster.start(options);
}

export {
  type AuthStatus,
  type Bytes,
  type CallOptions,
  ClosedError,
  CompactedError,
  type Election,
  type EtcdClient,
  EtcdError,
  type KeyValue,
  type Leadership,
  type Lease,
  LeaseLostError,
  type LeaseOptions,
  type Lock,
  type LockOptions,
  OwnershipLostError,
  type Permission,
  type PermissionType,
  type Range,
  type SnapshotPiece,
  type Transaction,
  type Watch,
  type WatchBatch,
  type WatchEvent,
  type WatchOptions,
} from './client/client.js';
export { type ConnectOptions, connect, type TlsOptions } from './client/connect.js';
export type { AddMemberOptions, Cluster, ClusterMember, Faults } from './host/cluster.js';
export { StartError } from './host/data-directory.js';
export type { ClusterOptions, LogFormat, LogLevel } from './host/options.js';
export type { SavedSnapshot } from './host/snapshots.js';
export type { ClientCredentials } from './host/tls/auto.js';
export type { ClusterTlsOptions } from './host/tls/settings.js';
