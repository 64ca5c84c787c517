/**
 * Which members this host runs, kept in step with the cluster's configuration.
 *
 * Membership is decided by the log, through whatever client: the members tell their host what the member table is after
 * each change, and the host starts and stops threads accordingly.
 *
 *     listed, no thread here ──> endpoint ──> cluster.json ──> links ──> thread with an empty store, which catches up
 *     thread, not listed     ──> cluster.json ──> a second later: endpoint and thread end, links and data go
 *
 * etcd's member added by `etcdctl member add` waits for an operator to start its process. In this host there is nothing
 * an operator could start, so it gets a thread and a free port at once, unless `startAddedMembers` is false. `add` does
 * both steps, with the name and port it was given: it reserves them under the peer URLs of the member to come.
 *
 * Invariants: a member is in cluster.json before its store exists and out of it before its store goes, so a host killed
 * in between comes back to the configuration in the log; what was heard counts only if it is newer than what is known, so
 * a member that replays its log cannot bring back the past.
 */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type EtcdClient, EtcdError, type Member } from '../client/client.js';
import type { MemberIdentity } from '../transport/control.js';
import { EtcdErrorCode, etcdError } from '../wire/errors.js';
import { canonicalPeerUrls } from '../wire/peer-urls.js';
import { decode } from '../wire/schema.js';
import type { HostAuth } from './auth/host-auth.js';
import { type ClusterDescription, type DataDirectory, StartError } from './data-directory.js';
import { Endpoint } from './endpoint.js';
import { MemberThread } from './member-thread.js';
import type { Mesh } from './mesh.js';
import { addedMetricsAddress, freePeerUrl, type ListenAddress, memberName, type ResolvedOptions } from './options.js';
import type { Supervised } from './supervised.js';
import type { OpenTls } from './tls/open.js';

/** How a member is added. */
export interface AddMemberOptions {
  /** Default: the next of m1, m2, … that was never used. */
  readonly name?: string;
  /** It gets everything and votes on nothing until it is promoted. */
  readonly learner?: boolean;
  /** Its client port on 127.0.0.1; default a free one. */
  readonly port?: number;
  /** They enter its id; nothing listens there. Default: one that no other member has. */
  readonly peerUrls?: readonly string[];
  /** How long to wait for the cluster to be healthy enough, and for the member to be ready; default 30 s. */
  readonly timeoutMs?: number;
}

/** What the roster needs of the cluster. */
export interface RosterContext {
  readonly directory: DataDirectory;
  readonly resolved: ResolvedOptions;
  readonly auth: HostAuth;
  readonly mesh: Mesh;
  readonly logger: Logger;
  readonly tls: OpenTls | undefined;
  readonly client: EtcdClient;
  /** Makes a member of an identity, its endpoint already open: takes its place in the mesh, but starts no thread. */
  readonly seat: (identity: MemberIdentity, endpoint: Endpoint) => Supervised;
}

/** A removed member's thread goes on this long, as etcd's process does: its clients hear of it. */
const removedStopMs = 1_000;

const addTimeoutMs = 30_000;
const retryMs = 100;

interface Reservation {
  readonly peerUrls: readonly string[];
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly started: Deferred<Supervised>;
  /** The endpoint is a member's now. */
  taken: boolean;
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export class Roster {
  /** In the order they came. The cluster's `members` is this very array. */
  readonly members: Supervised[] = [];
  readonly #context: RosterContext;
  readonly #closed = new AbortController();
  #description: Omit<ClusterDescription, 'formatVersion'>;
  #listed: readonly Member[] = [];
  #membersIndex: number;
  #work: Promise<void> = Promise.resolve();
  #adding: Promise<unknown> = Promise.resolve();
  #reservation: Reservation | undefined;

  constructor(context: RosterContext, description: Omit<ClusterDescription, 'formatVersion'>) {
    this.#context = context;
    this.#description = description;
    // The founding members stand in the first entries: before those are applied the table is not complete.
    this.#membersIndex = description.membersIndex ?? description.members.length;
  }

  /** Every founding member's store has been made. */
  founded(): void {
    if (!this.#description.complete) this.#record({ ...this.#description, complete: true });
  }

  /**
   * The member `from` says what the member table is. One that is not in it is not believed: what it knows is on its own
   * disk, and nobody else's may have it yet.
   */
  heard(from: bigint, appliedIndex: number, list: Uint8Array): void {
    if (appliedIndex < this.#membersIndex) return;
    const { members } = decode('etcdserverpb.MemberListResponse', Buffer.from(list));
    if (!members.some(({ ID }) => ID === from)) return;
    this.#membersIndex = appliedIndex;
    this.#listed = members.map(member => ({
      id: member.ID,
      name: member.name,
      peerUrls: member.peerURLs,
      clientUrls: member.clientURLs,
      isLearner: member.isLearner,
    }));
    this.#work = this.#work.then(() => this.#reconcile());
  }

  /**
   * Adds a member to the cluster and starts it; resolves when it is ready. Rejects with EtcdError or StartError. One at a
   * time: the next is judged by a cluster in which the last one runs.
   */
  add(options: AddMemberOptions = {}): Promise<Supervised> {
    const added = this.#adding.then(() => this.#add(options));
    this.#adding = added.catch(() => undefined);
    return added;
  }

  /** Removes a member from the cluster; resolves when its thread has ended. Rejects with EtcdError or StartError. */
  async remove(nameOrId: string, timeoutMs = addTimeoutMs): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    const id = this.#idOf(nameOrId);
    const seated = this.members.find(member => member.id === id.toString(16));
    await this.#whenHealthy(deadlineMs, restMs => this.#context.client.memberRemove(id, { timeoutMs: restMs }));
    await Promise.race([seated?.retired, this.#late(deadlineMs)]);
  }

  /** Makes a voter of a learner; waits a while for it to be in sync. Rejects with EtcdError or StartError. */
  async promote(nameOrId: string, timeoutMs = addTimeoutMs): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    const id = this.#idOf(nameOrId);
    await this.#whenHealthy(deadlineMs, restMs => this.#context.client.memberPromote(id, { timeoutMs: restMs }));
  }

  /** Starts and removes nothing from now on; resolves when nothing is under way. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#work;
    await Promise.all(this.members.filter(member => member.removed).map(member => member.retired));
  }

  async #add({
    learner = false,
    port = 0,
    timeoutMs = addTimeoutMs,
    ...options
  }: AddMemberOptions): Promise<Supervised> {
    const deadlineMs = performance.now() + timeoutMs;
    const name = options.name ?? this.#freeName();
    if (!this.#isFree(name)) throw new StartError(`a member or directory ${name} exists already; choose another name`);
    const given = options.peerUrls ?? [freePeerUrl(this.#usedPeerUrls())];
    // As the members will list it; what is no URL they refuse.
    const peerUrls = canonicalPeerUrls(given) ?? given;
    const endpoint = await this.#bind({ host: '127.0.0.1', port, secure: this.#context.resolved.secureAdded });
    const reservation: Reservation = { peerUrls, name, endpoint, started: deferred(), taken: false };
    this.#reservation = reservation;
    try {
      await this.#whenHealthy(deadlineMs, callMs =>
        this.#context.client.memberAdd(peerUrls, { learner, timeoutMs: callMs }),
      );
      const late = this.#late(deadlineMs);
      const member = await Promise.race([reservation.started.promise, late]);
      if (member === undefined) throw new StartError(`${name} was added, but has not started; see the log`);
      await Promise.race([member.handle.ready, member.retired, late]);
      return member;
    } finally {
      this.#reservation = undefined;
      if (!reservation.taken) await endpoint.close(0);
    }
  }

  async #reconcile(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    for (const member of this.members) {
      const listed = this.#listed.some(({ id }) => id.toString(16) === member.id);
      if (!listed && !member.removed) this.#retire(member).catch(error => this.#report(error, member.id));
    }
    for (const listed of this.#listed) {
      // One with a name has been started before: with an empty store it would break what it promised.
      if (listed.name !== '' || this.members.some(({ id }) => id === listed.id.toString(16))) continue;
      const isReserved = sameTexts(this.#reservation?.peerUrls ?? [], listed.peerUrls);
      const reservation = isReserved ? this.#reservation : undefined;
      if (reservation === undefined && !this.#context.resolved.startAddedMembers) continue;
      try {
        await this.#start(listed, reservation);
      } catch (error) {
        reservation?.started.reject(error);
        this.#report(error, listed.id.toString(16));
      }
    }
  }

  #report(error: unknown, id: string): void {
    this.#context.logger.error({ err: error, 'remote-peer-id': id }, 'cannot follow a change of the membership');
  }

  async #start(listed: Member, reservation: Reservation | undefined): Promise<void> {
    if (reservation !== undefined) reservation.taken = true;
    const name = reservation?.name ?? this.#freeName();
    const endpoint =
      reservation?.endpoint ??
      (await this.#bind({ host: '127.0.0.1', port: 0, secure: this.#context.resolved.secureAdded }));
    const id = listed.id.toString(16);
    const metrics = endpoint.metricsUrl === undefined ? {} : { metricsUrl: endpoint.metricsUrl };
    const entry = { id, name, peerUrls: listed.peerUrls, clientUrl: endpoint.url, ...metrics, complete: false };
    const others = (this.#description.added ?? []).filter(other => other.id !== id);
    this.#record({ ...this.#description, added: [...others, entry], membersIndex: this.#membersIndex });
    const identity = { id: listed.id, name, peerUrls: listed.peerUrls, clientUrls: [endpoint.url] };
    const member = this.#context.seat(identity, endpoint);
    this.#context.logger.info(
      { member: name, 'local-member-id': id, endpoint: endpoint.url },
      'starting an added member',
    );
    await member.boot(new MemberThread(member.handle.position));
    const added = (this.#description.added ?? []).map(other =>
      other.id === id ? { ...other, complete: true } : other,
    );
    this.#record({ ...this.#description, added });
    reservation?.started.resolve(member);
  }

  async #retire(member: Supervised): Promise<void> {
    const { directory, logger, mesh } = this.#context;
    const { id, name } = member;
    member.removed = true;
    logger.warn(
      { member: name, 'local-member-id': id },
      'the member has been permanently removed from the cluster; stopping it',
    );
    const wasFounding = this.#description.members.some(other => other.id === id);
    this.#record({
      ...this.#description,
      removed: [...(this.#description.removed ?? []), ...(wasFounding ? [id] : [])],
      added: (this.#description.added ?? []).filter(other => other.id !== id),
      membersIndex: this.#membersIndex,
    });
    await delay(removedStopMs, undefined, { signal: this.#closed.signal }).catch(() => undefined);
    await member.endpointClose(0);
    await member.retire();
    this.members.splice(this.members.indexOf(member), 1);
    const { position } = member.handle;
    mesh.leave(position);
    for (const { handle } of this.members) handle.disconnect(position);
    directory.removeMemberDirectory(name);
    member.hasRetired();
  }

  /**
   * etcd calls a cluster healthy when its members have been connected for five seconds: a young one is waited for, and so
   * is a learner that is not in sync yet.
   */
  async #whenHealthy<T>(deadlineMs: number, call: (restMs: number) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call(Math.max(1, deadlineMs - performance.now()));
      } catch (error) {
        if (!isPassing(error) || performance.now() + retryMs >= deadlineMs) throw error;
        await delay(retryMs, undefined, { signal: this.#closed.signal });
      }
    }
  }

  /** Resolves at the deadline, or when the cluster is closed: then nothing is waited for any more. */
  #late(deadlineMs: number): Promise<undefined> {
    const options = { ref: false, signal: this.#closed.signal };
    return delay(deadlineMs - performance.now(), undefined, options).catch(() => undefined);
  }

  #idOf(nameOrId: string): bigint {
    const seated = this.members.find(({ id, name }) => id === nameOrId || name === nameOrId);
    const listed = this.#listed.find(({ id }) => id.toString(16) === nameOrId);
    if (seated !== undefined) return BigInt(`0x${seated.id}`);
    if (listed !== undefined) return listed.id;
    throw new StartError(`there is no member ${nameOrId}; name one by its name or hexadecimal id`);
  }

  #bind(address: ListenAddress): Promise<Endpoint> {
    const { resolved, auth, tls } = this.#context;
    return Endpoint.bind(address, resolved.settings, resolved.http, auth, tls, addedMetricsAddress(resolved));
  }

  #record(description: Omit<ClusterDescription, 'formatVersion'>): void {
    this.#description = description;
    this.#context.directory.record(description);
  }

  #usedPeerUrls(): string[] {
    return [...this.#description.members, ...this.#listed].flatMap(({ peerUrls }) => peerUrls);
  }

  #freeName(): string {
    let position = this.members.length;
    while (!this.#isFree(memberName(position))) position += 1;
    return memberName(position);
  }

  /** Names are directories; one that a removed member left behind (the host was killed then) is not used again. */
  #isFree(name: string): boolean {
    const { members, added = [] } = this.#description;
    const used = [...members, ...added, ...this.#listed, ...(this.#reservation ? [this.#reservation] : [])];
    if (!/^[\w.-]{1,64}$/.test(name) || used.some(other => other.name === name)) return false;
    return !existsSync(this.#context.directory.memberDirectory(name));
  }
}

function sameTexts(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((text, at) => text === right[at]);
}

function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<T>((fulfil, fail) => {
    resolve = fulfil;
    reject = fail;
  });
  // Its owner may still wait for something else when it fails: that alone must not end the process.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}

/** A refusal that ends by itself. */
function isPassing(error: unknown): boolean {
  const { Unhealthy, LearnerNotReady } = EtcdErrorCode;
  const texts = [Unhealthy, LearnerNotReady].map(code => etcdError(code).message);
  return error instanceof EtcdError && texts.includes(error.message);
}
