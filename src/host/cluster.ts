/**
 * The cluster: founds or reopens the data directory, spawns one thread per member, supervises them, opens an endpoint
 * for each, and stops everything in order.
 *
 *     start:  threads load | lock directory -> bind endpoints -> open members side by side -> best log stands -> ready
 *     close:  endpoints say GOAWAY -> members commit and end -> lock released
 *
 * Endpoints are bound before anything is written: a port in use must not leave a half-founded cluster behind.
 * The host never opens a store. It imports lmdb once all the same: the native addon would be unloaded when the last
 * thread that loaded it ends, and late finalizers of a restarted member would jump into unmapped memory.
 */
import 'lmdb';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as nextRound } from 'node:timers/promises';
import type { Logger } from 'pino';
import { assert } from '../base/assert.js';
import type { EtcdClient } from '../client/client.js';
import { Cell, type MemberIdentity, type MemberReport, Role } from '../transport/control.js';
import { createDoorbell, Doorbell, type DoorbellBuffer } from '../transport/doorbell.js';
import { createLink, type LinkBuffers } from '../transport/layout.js';
import { bootstrapIds } from '../wire/ids.js';
import { type BackupSettings, Backups, prepareBackups } from './backups.js';
import { type ClusterDescription, DataDirectory, StartError } from './data-directory.js';
import { Endpoint } from './endpoint.js';
import { inProcessClient } from './in-process.js';
import { createLogger, logMemberRecord } from './logger.js';
import { type HandleCallbacks, MemberHandle } from './member-handle.js';
import { MemberThread } from './member-thread.js';
import { type ClusterOptions, memberName, peerUrl, type ResolvedOptions, resolveOptions } from './options.js';
import { type SavedSnapshot, saveSnapshot } from './snapshots.js';

/** Bytes of each ring between two members: room for one full append of the largest request, twice over. */
const peerRingBytes = 8 * 1024 * 1024;

/** How long a start waits for a leader and every member's published attributes. */
const readyTimeoutMs = 30_000;

/** Restart pauses of a member that keeps dying: doubled from the first to the last. */
const restartPauseMs = { first: 100, last: 5_000 } as const;

/** How long `member.start()` waits for the member to hear of a leader. */
const startedReadyMs = 2_000;

/** A member that stayed up this long is forgiven its earlier deaths. */
const forgivenAfterMs = 60_000;

/** One member as the library's user sees it. */
export interface ClusterMember {
  readonly name: string;
  /** As etcdctl prints it: lower-case hex. */
  readonly id: string;
  /** `http://127.0.0.1:2379` */
  readonly endpoint: string;
  /** Whether the member's thread is up. */
  readonly running: boolean;
  /** Ends the member in order: its store is committed, its endpoint closed. It stays down until `start`. */
  stop(): Promise<void>;
  /** Brings a stopped, killed or failed member back on the same endpoint; waits a while for it to hear of a leader. */
  start(): Promise<void>;
  /** Ends the member at once, as kill -9 would end its process. It stays down until `start`. */
  kill(): Promise<void>;
}

export class Cluster {
  readonly members: readonly ClusterMember[];
  readonly dataDir: string;
  readonly logger: Logger;
  readonly #directory: DataDirectory;
  readonly #supervised: Supervised[];
  readonly #doorbell: Doorbell;
  #backups: Backups | undefined;
  #closing: Promise<void> | undefined;
  #draining: Promise<void> = Promise.resolve();

  private constructor(directory: DataDirectory, supervised: Supervised[], doorbell: Doorbell, logger: Logger) {
    this.#directory = directory;
    this.#supervised = supervised;
    this.#doorbell = doorbell;
    this.logger = logger;
    this.dataDir = directory.path;
    this.members = supervised;
  }

  /** Starts a cluster and waits until it has a leader. Throws StartError with one line that names the fix. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const resolved = resolveOptions(options);
    const threads = Array.from({ length: resolved.members }, (_, position) => new MemberThread(position));
    const logger = createLogger(resolved.logLevel);
    const ephemeral = resolved.dataDir === undefined;
    const path = resolved.dataDir ?? join(tmpdir(), `kvorum-${process.pid}-${randomBytes(4).toString('hex')}`);
    const endpoints: Endpoint[] = [];
    let directory: DataDirectory | undefined;
    let isRestored = false;
    try {
      if (resolved.backup !== undefined) prepareBackups(resolved.backup);
      if (options.fromSnapshot !== undefined) {
        await restoreFor(resolved, options.fromSnapshot, path);
        isRestored = true;
      }
      directory = DataDirectory.open(path, { ephemeral });
      for (const address of resolved.listen)
        endpoints.push(await Endpoint.bind(address, resolved.settings, resolved.http));
      const founding = foundOrReopen(directory, resolved, endpoints);
      const { description } = founding;
      const doorbellBuffer = createDoorbell();
      const supervised = createMembers(directory, resolved, founding, endpoints, doorbellBuffer, logger);
      const cluster = new Cluster(directory, supervised, new Doorbell(doorbellBuffer), logger);
      await cluster.#boot(threads);
      if (!description.complete) directory.record({ ...description, complete: true });
      if (resolved.backup !== undefined) cluster.#backUp(resolved.backup, description.clusterId);
      return cluster;
    } catch (error) {
      await Promise.all(threads.map(thread => thread.abandon()));
      for (const endpoint of endpoints) await endpoint.close(0);
      directory?.close();
      // Nothing has run on what was restored: the same call is to be possible again.
      if (isRestored && endpoints.length < resolved.listen.length) rmSync(path, { recursive: true, force: true });
      throw error;
    }
  }

  /** Client URLs, one per member, in member order. */
  get endpoints(): string[] {
    return this.members.map(member => member.endpoint);
  }

  /** The member that leads now; undefined while there is none. */
  leader(): ClusterMember | undefined {
    let leader: Supervised | undefined;
    let term = -1;
    for (const member of this.#supervised) {
      const { cells } = member.handle;
      if (!member.running || cells.get(Cell.role) !== Role.leader || cells.get(Cell.term) <= term) continue;
      leader = member;
      term = cells.get(Cell.term);
    }
    return leader;
  }

  /** A client that takes the members' own path without sockets. It ends with the cluster, or by its own `close`. */
  client(): EtcdClient {
    return inProcessClient(
      () => this.#preferredPort(),
      () => this.#closing !== undefined,
    );
  }

  /**
   * Writes a snapshot of everything acknowledged so far to a file, in the form etcd restores. The file appears complete
   * and checked, or not at all. Rejects with StartError or EtcdError.
   */
  async snapshot(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<SavedSnapshot> {
    const port = this.#preferredPort();
    // Answered when the member has applied everything that was committed.
    await inProcessClient(() => port).get('\0', options);
    return await saveSnapshot(port, path, options.signal);
  }

  /** Stops everything in order. Calls after the first wait for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #boot(threads: readonly MemberThread[]): Promise<void> {
    this.#draining = this.#drainLoop();
    try {
      await this.#openMembers(threads);
      const ready = Promise.all(this.#supervised.map(member => member.handle.ready));
      const timeout = new AbortController();
      const late = delay(readyTimeoutMs, 'late', { signal: timeout.signal }).catch(() => 'aborted');
      if ((await Promise.race([ready, late])) === 'late') {
        throw new StartError(`no leader after ${readyTimeoutMs / 1000} s; run with --log-level debug to see why`);
      }
      timeout.abort();
    } catch (error) {
      await this.#stopMembers();
      throw error instanceof StartError ? error : new StartError((error as Error).message);
    }
  }

  /**
   * Opens all members and has one stand for election: of a new cluster, where all logs are alike, the one that completes
   * a majority, while the others still open; otherwise the one with the best log, once all are known.
   */
  async #openMembers(threads: readonly MemberThread[]): Promise<void> {
    const majority = Math.floor(threads.length / 2) + 1;
    let founded = 0;
    const open = async (member: Supervised, thread: MemberThread): Promise<MemberReport> => {
      const report = await member.boot(thread);
      if (report.founded) founded += 1;
      if (report.founded && founded === majority) member.handle.campaign();
      return report;
    };
    const reports = await Promise.all(this.#supervised.map((member, at) => open(member, threads[at] as MemberThread)));
    if (founded >= majority) return;
    const best = reports.reduce((a, b, at) => {
      const other = reports[a] as (typeof reports)[number];
      const newer = b.lastTerm > other.lastTerm || (b.lastTerm === other.lastTerm && b.lastIndex > other.lastIndex);
      return newer ? at : a;
    }, 0);
    this.#supervised[best]?.handle.campaign();
  }

  /** The main thread's end of every ring: woken by one doorbell, handles a bounded batch, lets sockets have a turn. */
  async #drainLoop(): Promise<void> {
    while (this.#closing === undefined || this.#supervised.some(member => member.handle.running)) {
      let more = false;
      for (const { handle } of this.#supervised) {
        more = handle.port.drain() || more;
        handle.port.flush();
      }
      // A bell that rings all the time must not starve the sockets: without a sleep the event loop gets its round.
      await ((more ? undefined : this.#doorbell.wait(idleWaitMs)) ?? nextRound());
    }
  }

  #preferredPort() {
    const member = (this.leader() as Supervised | undefined) ?? this.#supervised.find(other => other.running);
    return (member ?? (this.#supervised[0] as Supervised)).handle.port;
  }

  #backUp(settings: BackupSettings, clusterId: string): void {
    const save = (path: string, signal: AbortSignal) => this.snapshot(path, { signal });
    this.#backups = new Backups(settings, clusterId, save, this.logger);
  }

  async #close(): Promise<void> {
    await this.#backups?.stop();
    await Promise.all(this.#supervised.map(member => member.endpointClose(closeGraceMs)));
    await this.#stopMembers();
    this.#directory.close();
    this.logger.info('closed');
  }

  async #stopMembers(): Promise<void> {
    this.#closing ??= Promise.resolve();
    await Promise.all(this.#supervised.map(member => member.retire()));
    this.#doorbell.wake();
    await this.#draining;
  }
}

/** The drain loop's heartbeat when nothing rings. */
const idleWaitMs = 500;

/** How long open calls may go on while the cluster closes; the whole close stays under 5 s. */
const closeGraceMs = 1_500;

/** A member's thread and endpoint, kept up until the user or the cluster takes them down. */
class Supervised implements ClusterMember {
  readonly name: string;
  readonly id: string;
  readonly handle: MemberHandle;
  readonly #endpoint: Endpoint;
  readonly #logger: Logger;
  #wanted = false;
  #deaths = 0;
  #upSinceMs = 0;

  constructor(
    identity: MemberIdentity,
    endpoint: Endpoint,
    logger: Logger,
    gone: () => void,
    createHandle: (callbacks: HandleCallbacks) => MemberHandle,
  ) {
    this.name = identity.name;
    this.id = identity.id.toString(16);
    this.#endpoint = endpoint;
    this.#logger = logger.child({ member: identity.name });
    this.handle = createHandle({
      gone,
      died: error => void this.#restart(error),
      log: payload => logMemberRecord(this.#logger, payload),
    });
    endpoint.serve(this.handle);
  }

  get endpoint(): string {
    return this.#endpoint.url;
  }

  get running(): boolean {
    return this.handle.state === 'up';
  }

  /** First start, at cluster start: the endpoint is open already. */
  async boot(thread: MemberThread): Promise<MemberReport> {
    this.#wanted = true;
    const report = await this.handle.start(thread);
    this.#upSinceMs = performance.now();
    return report;
  }

  async start(): Promise<void> {
    if (this.#wanted && this.running) return;
    this.#wanted = true;
    this.#deaths = 0;
    await this.#up();
    // Usually the leader is heard of within a heartbeat; without a quorum there is none to wait for.
    await Promise.race([this.handle.ready, delay(startedReadyMs, undefined, { ref: false })]);
  }

  async stop(): Promise<void> {
    await this.endpointClose(closeGraceMs);
    await this.handle.stop(true);
  }

  async kill(): Promise<void> {
    this.#wanted = false;
    const crashed = this.handle.crash();
    await this.#endpoint.close(0);
    await crashed;
  }

  async endpointClose(graceMs: number): Promise<void> {
    this.#wanted = false;
    this.handle.port.endStreams();
    await this.#endpoint.close(graceMs);
  }

  async retire(): Promise<void> {
    this.#wanted = false;
    await this.handle.stop(false);
  }

  async #up(): Promise<void> {
    await this.handle.start();
    this.#upSinceMs = performance.now();
    await this.#endpoint.reopen();
  }

  /** The thread died by itself: bring it back, after a pause that grows while it keeps dying. */
  async #restart(error: Error): Promise<void> {
    if (performance.now() - this.#upSinceMs > forgivenAfterMs) this.#deaths = 0;
    for (;;) {
      const pauseMs = Math.min(restartPauseMs.first * 2 ** this.#deaths, restartPauseMs.last);
      this.#deaths += 1;
      this.#logger.error({ err: error, pauseMs, deaths: this.#deaths }, 'member died; restarting it');
      await this.#endpoint.close(0);
      await delay(pauseMs);
      if (!this.#wanted) return;
      try {
        await this.#up();
        return;
      } catch (failure) {
        error = failure as Error;
      }
    }
  }
}

/** The name and peer URLs of a member where nothing else was said. */
function foundingMember(position: number): { name: string; peerUrls: string[] } {
  return { name: memberName(position), peerUrls: [peerUrl(position)] };
}

/** Makes the data directory that the cluster is going to open. */
async function restoreFor(resolved: ResolvedOptions, file: string, dataDir: string): Promise<void> {
  const { restoreSnapshot } = await import('./restore.js');
  const members = resolved.listen.map((_, at) => foundingMember(at));
  const { durable, quotaBackendBytes } = resolved.settings;
  await restoreSnapshot({ file, dataDir, members, token: resolved.token, durable, quotaBackendBytes });
}

interface Founding {
  readonly clusterId: bigint;
  readonly identities: MemberIdentity[];
  readonly description: Omit<ClusterDescription, 'formatVersion'>;
}

function foundOrReopen(directory: DataDirectory, resolved: ResolvedOptions, endpoints: Endpoint[]): Founding {
  const known = directory.describe();
  const founding = resolved.listen.map((_, at) => known?.members[at] ?? foundingMember(at));
  const ids = bootstrapIds(
    founding.map(member => member.peerUrls),
    resolved.token,
  );
  const identities = founding.map(({ name, peerUrls }, at) => ({
    name,
    peerUrls,
    id: ids.memberIds[at] as bigint,
    clientUrls: [(endpoints[at] as Endpoint).url],
  }));
  const description = known ?? {
    clusterId: ids.clusterId.toString(16),
    token: resolved.token,
    members: identities.map(({ id, name, peerUrls }) => ({ id: id.toString(16), name, peerUrls })),
    complete: false,
  };
  if (known === undefined) {
    directory.record(description);
  } else if (known.members.length !== resolved.members) {
    const found = known.members.length;
    throw new StartError(
      `data directory ${directory.path} holds a cluster of ${found} members, not ${resolved.members}; ` +
        `start it with --members ${found} or choose another --data-dir`,
    );
  } else if (known.clusterId !== ids.clusterId.toString(16)) {
    throw new StartError(
      `data directory ${directory.path} belongs to cluster ${known.clusterId} (token ${known.token}), ` +
        `not ${ids.clusterId.toString(16)} (token ${resolved.token}); choose another --data-dir`,
    );
  }
  return { clusterId: ids.clusterId, identities, description };
}

function createMembers(
  directory: DataDirectory,
  resolved: ResolvedOptions,
  { clusterId, identities, description }: Founding,
  endpoints: Endpoint[],
  hostDoorbell: DoorbellBuffer,
  logger: Logger,
): Supervised[] {
  const doorbells = identities.map(() => createDoorbell());
  const links: (LinkBuffers | undefined)[][] = identities.map((_, from) =>
    identities.map((_other, to) => (from === to ? undefined : createLink(peerRingBytes))),
  );
  assert(doorbells.length === endpoints.length, 'one doorbell and one endpoint per member');
  const supervised: Supervised[] = [];
  const gone = (position: number) => (): void => {
    for (const other of supervised) if (other.handle.position !== position) other.handle.port.peerGone(position);
  };
  identities.forEach((identity, position) => {
    const recipe = {
      position,
      clusterId,
      members: identities,
      directory: directory.memberDirectory(identity.name),
      settings: resolved.settings,
      mayFound: !description.complete,
      doorbell: doorbells[position] as DoorbellBuffer,
      fromPeers: links.map(row => row[position]),
      toPeers: links[position] as (LinkBuffers | undefined)[],
      hostDoorbell,
      peerDoorbells: doorbells,
    };
    const endpoint = endpoints[position] as Endpoint;
    const create = (callbacks: HandleCallbacks): MemberHandle => new MemberHandle(recipe, callbacks);
    supervised.push(new Supervised(identity, endpoint, logger, gone(position), create));
  });
  return supervised;
}
