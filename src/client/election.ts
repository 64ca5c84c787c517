/**
 * Elections: one leader at a time, with a value that everybody can read.
 *
 *     const election = client.election('scheduler');
 *     const leadership = await election.campaign('host-7', { ttlSeconds: 10, signal });   // waits for its turn
 *     await leadership.proclaim('host-7: draining');
 *     await leadership.resign();                                                          // or `await using`
 *
 *     (await election.leader())?.value;                                                   // undefined: nobody
 *     for await (const leader of election.observe({ signal })) console.log(leader.value);
 *
 * The same queue as a lock's, and the same for `etcdctl elect`, Go's concurrency package and the Election service.
 * `leadership.lost` is aborted when the lease is lost or someone deletes the key.
 */
import { GrpcCode } from '../wire/errors.js';
import { type CallOptions, EtcdError } from './channel.js';
import type { EtcdClient } from './client.js';
import { Held, type HoldOptions, hold } from './holding.js';
import { campaign, type Place, prefixOf, proclaim, readOwner, type WireHeader } from './queue.js';
import { type Bytes, toBytes } from './ranges.js';
import { KeyValue, type ResponseHeader } from './results.js';
import { Scope } from './scope.js';

export type CampaignOptions = HoldOptions;

/** What an observer is told: a leader's key with its value, and the header it came with. */
export interface Observed {
  readonly header: ResponseHeader;
  readonly kv: KeyValue;
}

export class Election {
  readonly #client: EtcdClient;
  readonly #name: Uint8Array;

  constructor(client: EtcdClient, name: Bytes) {
    this.#client = client;
    this.#name = toBytes(name);
  }

  /** Waits to become the leader. When it is given up, by signal or timeout, no key is left behind. */
  async campaign(value: Bytes, options: CampaignOptions = {}): Promise<Leadership> {
    const take = (lease: bigint, signal: AbortSignal): Promise<Place> =>
      campaign(this.#client, this.#name, lease, toBytes(value), signal);
    return new Leadership(await hold(this.#client, options, take));
  }

  /** The leader's key and value; undefined: there is none. */
  async leader(options?: CallOptions): Promise<KeyValue | undefined> {
    const scope = new Scope(options);
    try {
      const { kv } = await readOwner(this.#client.channel, this.#name, scope.signal);
      return kv === undefined ? undefined : keyValueOf(kv);
    } finally {
      scope.end();
    }
  }

  /** The present leader, then every new one and every new value, until the loop is left or the signal aborted. */
  async *observe(options: CallOptions = {}): AsyncGenerator<KeyValue, void, undefined> {
    const scope = new Scope(options);
    try {
      for await (const { kv } of observeLeader(this.#client, this.#name, scope.signal)) yield kv;
    } finally {
      scope.end();
    }
  }
}

/** An election that was won. */
export class Leadership extends Held implements AsyncDisposable {
  /** Replaces the value; rejects with `election: not leader` once the leadership is lost. */
  async proclaim(value: Bytes, options?: CallOptions): Promise<void> {
    const scope = new Scope(options);
    try {
      await proclaim(this.holding.client.channel, this.holding.place, toBytes(value), scope.signal);
    } finally {
      scope.end();
    }
  }

  /** Makes way for the next. A leadership that is lost already is no error. */
  resign(options?: CallOptions): Promise<void> {
    return this.release(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/**
 * The leaders one after the other, with every value of each; ends by the signal only, or when its reader leaves. A
 * reader that is slow misses nothing until what it has not seen is compacted: it then goes on with the present leader.
 */
export async function* observeLeader(
  client: EtcdClient,
  name: Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<Observed, void, undefined> {
  let toldRevision = 0;
  // The revision to look for a leader at; 0: now.
  let atRevision = 0;
  for (;;) {
    try {
      const { header, kv } = await readOwner(client.channel, name, signal, atRevision);
      const fromRevision = atRevision === 0 ? Number(header.revision) : atRevision;
      const leader =
        kv === undefined
          ? await firstLeader(client, name, fromRevision, signal)
          : { header: headerOf(header), kv: keyValueOf(kv) };
      // After a compaction the leader is read anew and may be the one that was told of last.
      if (leader.kv.modRevision > toldRevision) yield leader;
      toldRevision = leader.kv.modRevision;
      const startRevision = Math.max(fromRevision, toldRevision) + 1;
      const watch = client.watch(leader.kv.keyBytes, { startRevision, signal });
      reign: for await (const { header, events } of watch.batches()) {
        for (const { type, kv, revision } of events) {
          if (type === 'delete') {
            atRevision = revision;
            break reign;
          }
          yield { header, kv };
          toldRevision = revision;
        }
      }
    } catch (error) {
      if (!(error instanceof EtcdError && error.code === GrpcCode.OutOfRange)) throw error;
      atRevision = 0;
    }
  }
}

/** Waits for somebody where nobody was at `revision`. */
async function firstLeader(
  client: EtcdClient,
  name: Uint8Array,
  revision: number,
  signal: AbortSignal,
): Promise<Observed> {
  const range = { prefix: prefixOf(name) };
  const watch = client.watch(range, { startRevision: revision + 1, filter: 'noDelete', signal });
  for await (const { header, events } of watch.batches()) {
    const [first] = events;
    // The batch may hold later puts, of this key too: they are to be watched.
    if (first !== undefined) return { header: { ...header, revision: first.revision }, kv: first.kv };
  }
  throw signal.reason;
}

function headerOf({ cluster_id, member_id, revision, raft_term }: WireHeader): ResponseHeader {
  return { clusterId: cluster_id, memberId: member_id, revision: Number(revision), raftTerm: Number(raft_term) };
}

function keyValueOf(kv: NonNullable<Awaited<ReturnType<typeof readOwner>>['kv']>): KeyValue {
  return new KeyValue({
    key: kv.key,
    value: kv.value,
    createRevision: Number(kv.create_revision),
    modRevision: Number(kv.mod_revision),
    version: Number(kv.version),
    lease: kv.lease,
  });
}
