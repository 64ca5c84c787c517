/**
 * A client of one member for the tests of leases: raw gRPC, answers and refusals as short values to compare.
 *
 * Times are the test's own monotone milliseconds. What a server promises for a TTL counts from the moment at which the
 * question left at the latest, so that is what the tests hold it against.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type Cluster, type ClusterMember, type ClusterOptions, startCluster } from '../../../src/index.js';
import { GrpcClient, type GrpcStream } from '../../support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../../support/messages.js';

/** A member's turn reads the clock before it takes what has come: so much may be missing from a TTL on a busy machine. */
export const clockSlackMs = 50;

/** An answer that is an error: `5 etcdserver: requested lease not found`. */
export class Refusal extends Error {}

/** Starts a cluster that is closed when the test ends. */
export async function startFor(context: TestContext, options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', ...options });
  context.after(() => cluster.close());
  return cluster;
}

/** Resolves when the condition holds; the test's time limit ends a wait in vain. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await pause(10);
}

export function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms));
}

export function leaderOf(cluster: Cluster): ClusterMember {
  return cluster.leader() ?? assert.fail('there is a leader');
}

export function followersOf(cluster: Cluster): [ClusterMember, ClusterMember] {
  return cluster.members.filter(member => member !== cluster.leader()) as [ClusterMember, ClusterMember];
}

export interface LeaseTime {
  readonly ttlSeconds: number;
  readonly grantedSeconds: number;
  readonly keys: readonly string[];
}

/** DELETE events of one revision. */
export interface Deletion {
  readonly revision: number;
  readonly keys: readonly string[];
  readonly seenMs: number;
}

export class LeaseClient {
  readonly grpc: GrpcClient;

  private constructor(grpc: GrpcClient) {
    this.grpc = grpc;
  }

  static async connect(member: ClusterMember): Promise<LeaseClient> {
    return new LeaseClient(await GrpcClient.connect(new URL(member.endpoint).host));
  }

  /** One that is closed when the test ends. */
  static async connectFor(context: TestContext, member: ClusterMember): Promise<LeaseClient> {
    const client = await LeaseClient.connect(member);
    context.after(() => client.close());
    return client;
  }

  close(): void {
    this.grpc.close();
  }

  async call(path: string, message: string, request: Message, deadlineMs = 20_000): Promise<Message> {
    const body = encodeMessage(`${message}Request`, request);
    const { grpcStatus, grpcMessage, messages } = await this.grpc.unary(`/etcdserverpb.${path}`, body, { deadlineMs });
    if (grpcStatus !== 0) throw new Refusal(`${grpcStatus} ${grpcMessage}`);
    return decodeMessage(`${message}Response`, messages[0] ?? assert.fail('an answer has a message'));
  }

  async grant(ID: bigint, ttlSeconds: number, deadlineMs?: number): Promise<{ id: bigint; ttlSeconds: number }> {
    const request = { ID, TTL: BigInt(ttlSeconds) };
    const granted = await this.call('Lease/LeaseGrant', 'LeaseGrant', request, deadlineMs);
    return { id: granted.ID as bigint, ttlSeconds: Number(granted.TTL) };
  }

  /** Resolves with the revision after it. */
  async revoke(ID: bigint, deadlineMs?: number): Promise<number> {
    return revisionOf(await this.call('Lease/LeaseRevoke', 'LeaseRevoke', { ID }, deadlineMs));
  }

  async timeToLive(ID: bigint, deadlineMs?: number): Promise<LeaseTime> {
    const answer = await this.call('Lease/LeaseTimeToLive', 'LeaseTimeToLive', { ID, keys: true }, deadlineMs);
    assert.equal(answer.ID, ID);
    const keys = (answer.keys as Uint8Array[]).map(String).sort();
    return { ttlSeconds: Number(answer.TTL), grantedSeconds: Number(answer.grantedTTL), keys };
  }

  async list(): Promise<bigint[]> {
    const { leases } = await this.call('Lease/LeaseLeases', 'LeaseLeases', {});
    return (leases as Message[]).map(({ ID }) => ID as bigint);
  }

  /** Resolves with the revision of the put. */
  async put(key: string, lease: bigint, more: Message = {}, deadlineMs?: number): Promise<number> {
    const request = { key: Buffer.from(key), value: Buffer.from('v'), lease, ...more };
    return revisionOf(await this.call('KV/Put', 'Put', request, deadlineMs));
  }

  async delete(key: string): Promise<void> {
    await this.call('KV/DeleteRange', 'DeleteRange', { key: Buffer.from(key) });
  }

  /** The keys there are, as `key@lease`, and the revision. */
  async keys(prefix: string, more: Message = {}, deadlineMs?: number): Promise<{ keys: string[]; revision: number }> {
    const range = { key: Buffer.from(prefix), range_end: Buffer.from(`${prefix}\xff`, 'latin1'), ...more };
    // A read that was asked of a former leader is refused; clients ask it again.
    const again = (error: Error): Promise<Message> => {
      if (!error.message.endsWith('leader changed')) throw error;
      return this.call('KV/Range', 'Range', range, deadlineMs);
    };
    const answer = await this.call('KV/Range', 'Range', range, deadlineMs).catch(again);
    const keys = (answer.kvs as Message[]).map(({ key, lease }) => `${key}@${lease}`);
    return { keys, revision: revisionOf(answer) };
  }

  async hashKv(revision: number): Promise<number> {
    const { hash } = await this.call('Maintenance/HashKV', 'HashKV', { revision: BigInt(revision) });
    return hash as number;
  }

  keepAlives(metadata: Record<string, string> = {}): KeepAlives {
    return new KeepAlives(this.grpc.stream('/etcdserverpb.Lease/LeaseKeepAlive', { metadata }));
  }

  /** Watches a prefix and hears of deletions; begins before this resolves. */
  async deletions(prefix: string): Promise<Deletions> {
    const stream = this.grpc.stream('/etcdserverpb.Watch/Watch');
    const create = { key: Buffer.from(prefix), range_end: Buffer.from(`${prefix}\xff`, 'latin1'), filters: [0] };
    stream.send(encodeMessage('WatchRequest', { create_request: create }));
    await stream.next();
    return new Deletions(stream);
  }
}

function revisionOf({ header }: Message): number {
  return Number((header as Message).revision);
}

export class KeepAlives {
  readonly stream: GrpcStream;

  constructor(stream: GrpcStream) {
    this.stream = stream;
  }

  send(ID: bigint): void {
    this.stream.send(encodeMessage('LeaseKeepAliveRequest', { ID }));
  }

  /** The next answer; undefined when the stream has ended. */
  async next(): Promise<{ id: bigint; ttlSeconds: number } | undefined> {
    const { value, done } = await this.stream.next();
    if (done === true) return undefined;
    const { ID, TTL } = decodeMessage('LeaseKeepAliveResponse', value);
    return { id: ID as bigint, ttlSeconds: Number(TTL) };
  }

  /** Asks for one renewal and resolves with the TTL that is answered. */
  async renew(id: bigint): Promise<number> {
    this.send(id);
    const answer = (await this.next()) ?? assert.fail(`the stream ended: ${JSON.stringify(await this.stream.status)}`);
    assert.equal(answer.id, id);
    return answer.ttlSeconds;
  }
}

export class Deletions {
  readonly #stream: GrpcStream;

  constructor(stream: GrpcStream) {
    this.#stream = stream;
  }

  /** The deletions of the next revisions, until `count` keys are gone. */
  async next(count: number): Promise<Deletion[]> {
    const heard = new Map<number, { revision: number; keys: string[]; seenMs: number }>();
    for (let seen = 0; seen < count; ) {
      const { value, done } = await this.#stream.next();
      if (done === true) assert.fail(`the watch ended: ${JSON.stringify(await this.#stream.status)}`);
      const seenMs = performance.now();
      for (const { type, kv } of decodeMessage('WatchResponse', value).events as Message[]) {
        assert.equal(type, 1, 'only deletions');
        const revision = Number((kv as Message).mod_revision);
        const deletion = heard.get(revision) ?? { revision, keys: [], seenMs };
        heard.set(revision, deletion);
        deletion.keys.push(String((kv as Message).key));
        seen += 1;
      }
    }
    return [...heard.values()];
  }
}
