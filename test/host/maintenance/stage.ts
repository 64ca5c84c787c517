/**
 * A cluster for the tests of Maintenance: raw gRPC, decoded by the product's schema, answers and refusals as short
 * values to compare.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Cluster, type ClusterMember, type ClusterOptions, startCluster } from '../../../src/index.js';
import { methods } from '../../../src/wire/methods.js';
import { decode, encode } from '../../../src/wire/schema.js';
import { GrpcClient } from '../../support/grpc-client.js';

type Fields = Record<string, unknown>;

/** An answer that is an error: `9 etcdserver: not leader`. */
export class Refusal extends Error {}

/** A directory that is gone when the test ends. */
export function directoryFor(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts a cluster that is closed when the test ends. */
export async function startFor(context: TestContext, options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', ...options });
  context.after(() => cluster.close());
  return cluster;
}

/** A client of one member that is closed when the test ends. */
export async function clientFor(context: TestContext, member: ClusterMember): Promise<GrpcClient> {
  const client = await GrpcClient.connect(new URL(member.endpoint).host);
  context.after(() => client.close());
  return client;
}

/** Calls `Maintenance/Status` and the like; throws Refusal. The result has the schema's field names. */
export async function call(client: GrpcClient, method: string, request: Fields = {}): Promise<Fields> {
  const info = methods.find(({ path }) => path.endsWith(`.${method}`)) ?? assert.fail(`no method ${method}`);
  const body = encode(info.request as 'etcdserverpb.StatusRequest', request as never);
  const { grpcStatus, grpcMessage, messages } = await client.unary(info.path, body, { deadlineMs: 30_000 });
  if (grpcStatus !== 0) throw new Refusal(`${grpcStatus} ${grpcMessage}`);
  return decode(info.response as 'etcdserverpb.StatusResponse', messages[0] ?? assert.fail('no message')) as never;
}

/** The refusal's text, or the answer if there was none. */
export async function outcome(client: GrpcClient, method: string, request: Fields = {}): Promise<unknown> {
  try {
    return await call(client, method, request);
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}

export function leaderOf(cluster: Cluster): ClusterMember {
  return cluster.leader() ?? assert.fail('there is a leader');
}

export function followerOf(cluster: Cluster): ClusterMember {
  return cluster.members.find(member => member !== cluster.leader()) ?? assert.fail('there is a follower');
}

export function idOf(member: ClusterMember): bigint {
  return BigInt(`0x${member.id}`);
}

/** Resolves when the condition holds; the test's time limit ends a wait in vain. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise(resolve => setTimeout(resolve, 10));
}
