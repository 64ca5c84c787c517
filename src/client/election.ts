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
import { Guard, type HoldOptions, Session, soonAfterAbort } from './holding.js';
import { campaign, leave, type Place, prefixOf, proclaim, readOwner, type WireHeader } from './queue.js';
import { type Bytes, toBytes } from './ranges.js';
import { KeyValue, type ResponseHeader } from './results.js';
import { Scope } from './scope.js';

export type CampaignOptions = HoldOptions;

/** What an observer is told: a leader's key with its value, and the header it came with. */
export interface Observed {
  readonly header: ResponseHeader;
  readonly kv: KeyValue;
}

const lenientDecoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class Election {
  readonly #client: EtcdClient;
  readonly #name: Uint8Array;

  constructor(client: EtcdClient, name: Bytes) {
    this.#client = client;
    this.#name = toBytes(name);
  }

  /** Waits to become the leader. When it is given up, by signal or timeout, no key is left behind. */
  async campaign(value: Bytes, options: CampaignOptions = {}): Promise<Leadership> {
    const scope = new Scope(options);
    try {
      return await soonAfterAbort(this.#campaign(toBytes(value), options, scope.signal), scope.signal);
    } finally {
      scope.end();
    }
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

  async #campaign(value: Uint8Array, options: CampaignOptions, signal: AbortSignal): Promise<Leadership> {
    const session = await Session.open(this.#client, options, signal);
    const scope = new Scope({ signal }, session.lost);
    try {
      const place = await campaign(this.#client, this.#name, session.lease, value, scope.signal);
      return new Leadership(this.#client, session, place);
    } catch (error) {
      await session.close().catch(() => {});
      throw error;
    } finally {
      scope.end();
    }
  }
}

/** An election that was won. */
export class Leadership implements AsyncDisposable {
  readonly keyBytes: Uint8Array;
  /** The key's create revision: it grows from leader to leader. */
  readonly revision: number;
  readonly #client: EtcdClient;
  readonly #session: Session;
  readonly #place: Place;
  readonly #guard: Guard;

  constructor(client: EtcdClient, session: Session, place: Place) {
    this.keyBytes = place.key;
    this.revision = place.revision;
    this.#client = client;
    this.#session = session;
    this.#place = place;
    this.#guard = new Guard(client, place, session.lost);
  }

  get key(): string {
    return lenientDecoder.decode(this.keyBytes);
  }

  /** Aborted when the leadership must be taken as lost; not by `resign`. */
  get lost(): AbortSignal {
    return this.#guard.lost;
  }

  /** Replaces the value; rejects with `election: not leader` once the leadership is lost. */
  async proclaim(value: Bytes, options?: CallOptions): Promise<void> {
    const scope = new Scope(options);
    try {
      await proclaim(this.#client.channel, this.#place, toBytes(value), scope.signal);
    } finally {
      scope.end();
    }
  }

  /** Makes way for the next. A leadership that is lost already is no error. */
  async resign(options: CallOptions = {}): Promise<void> {
    this.#guard.end();
    if (this.#session.isOwn) return this.#session.close(options);
    const scope = new Scope(options);
    try {
      await leave(this.#client.channel, this.#place, scope.signal);
    } finally {
      scope.end();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.resign();
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
