/**
 * A cluster of three whose members can be killed and brought back one by one on their addresses: real etcd, one process
 * a member, or kvorum in this process.
 */
import { startCluster } from '../../src/index.js';
import type { Family } from './differential.js';
import { startEtcd } from './etcd.js';

export interface DisturbedCluster {
  /** Client addresses, `host:port`. */
  readonly endpoints: readonly string[];
  /** Ends a member at once, as kill -9 does. */
  kill(member: number): Promise<void>;
  /** Brings a killed member back; resolves when it serves clients. */
  restart(member: number): Promise<void>;
  stop(): Promise<void>;
}

/** What both kinds can be told about auth: kvorum as options, etcd as flags. */
export interface AuthSettings {
  readonly bcryptCost?: number;
  readonly authToken?: string;
}

/** Starts three members and resolves when they serve clients. */
export async function startDisturbedCluster(family: Family, auth: AuthSettings = {}): Promise<DisturbedCluster> {
  if (family !== 'kvorum') {
    const { bcryptCost, authToken } = auth;
    const flags = [
      ...(bcryptCost === undefined ? [] : [`--bcrypt-cost=${bcryptCost}`]),
      ...(authToken === undefined ? [] : ['--auth-token', authToken]),
    ];
    return startEtcd({ members: 3, version: family === 'etcd-3.4' ? '3.4' : '3.5', flags });
  }
  const cluster = await startCluster({ logLevel: 'silent', ...auth });
  return {
    endpoints: cluster.endpoints.map(endpoint => endpoint.replace('http://', '')),
    kill: member => cluster.members[member]!.kill(),
    restart: member => cluster.members[member]!.start(),
    stop: () => cluster.close(),
  };
}
