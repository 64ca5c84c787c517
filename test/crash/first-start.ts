/**
 * The first start of a member in a new data directory, and nothing else: the program of first-start.test.ts.
 *
 *   node first-start.js DIRECTORY
 */
import { join } from 'node:path';
import { DataDirectory } from '../../src/host/data-directory.js';
import { type OpenMember, openMember } from '../../src/member/open.js';
import type { MemberBoot } from '../../src/transport/control.js';

const identity = { id: 0xa1n, name: 'm1', peerUrls: ['http://127.0.0.1:12380'], clientUrls: [] };
const settings = {
  ...{ heartbeatIntervalMs: 100, electionTimeoutMs: 1_000, snapshotCount: 10_000, snapshotCatchUpEntries: 5_000 },
  ...{ maxTxnOps: 128, maxRequestBytes: 1_572_864, quotaBackendBytes: 0, leaseCheckpointIntervalMs: 0, durable: true },
};
const description = {
  ...{ clusterId: '1', token: 'first-start' },
  members: [{ id: identity.id.toString(16), name: identity.name, peerUrls: identity.peerUrls }],
};

/** Founds or reopens, in the order of the host: the cluster is described, its members made, then it is complete. */
export function start(path: string): { readonly directory: DataDirectory; readonly member: OpenMember } {
  const directory = DataDirectory.open(path, { ephemeral: false });
  const known = directory.describe();
  if (known === undefined) directory.record({ ...description, complete: false });
  const boot = { position: 0, clusterId: 1n, identity, founding: [identity], settings, seed: 1 };
  const paths = { directory: join(path, identity.name), mayFound: known?.complete !== true };
  const member = openMember({ ...boot, ...paths } as unknown as MemberBoot);
  if (known?.complete !== true) directory.record({ ...description, complete: true });
  return { directory, member };
}

if (process.argv[1] === import.meta.filename) start(process.argv[2]!);
