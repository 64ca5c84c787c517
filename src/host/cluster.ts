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
import type { EtcdClient } from '../client/client.js';
import { Cell, type MemberIdentity, type MemberReport, Role } from '../transport/control.js';
import { createDoorbell, Doorbell, type DoorbellBuffer } from '../transport/doorbell.js';
import { bootstrapIds } from '../wire/ids.js';
import { type HostAuth, prepareAuth } from './auth/host-auth.js';
import { type BackupSettings, Backups, prepareBackups } from './backups.js';
import { type ClusterDescription, DataDirectory, StartError } from './data-directory.js';
import { exposureWarning } from './edge.js';
import { Endpoint } from './endpoint.js';
import { inProcessClient } from './in-process.js';
import { type Log, openLog } from './logger.js';
import { serverAsks } from './member-call.js';
import { MemberHandle } from './member-handle.js';
import { MemberThread } from './member-thread.js';
import { Mesh } from './mesh.js';
import {
  addedMetricsAddress,
  type ClusterOptions,
  type ListenAddress,
  memberName,
  parseClientUrl,
  peerUrl,
  type ResolvedOptions,
  resolveOptions,
  unusedTlsWarnings,
} from './options.js';
import { type Faults, Partitions } from './partitions.js';
import { type AddMemberOptions, Roster } from './roster.js';
import { type SavedSnapshot, saveSnapshot } from './snapshots.js';
import { type ClusterMember, closeGraceMs, Supervised } from './supervised.js';
import type { ClientCredentials } from './tls/auto.js';
import type { OpenTls } from './tls/open.js';

export type { Faults } from './partitions.js';
export type { AddMemberOptions } from './roster.js';
export type { ClusterMember } from './supervised.js';

/** How long a start waits for a leader and every member's published attributes. */
const readyTimeoutMs = 30_000;

export class Cluster {
  readonly members: readonly ClusterMember[];
  readonly dataDir: string;
  /** What a client needs, if the certificates were made here (`tls: true`, --auto-tls): in PEM, and as files. */
  readonly tls: ClientCredentials | undefined;
  readonly logger: Logger;
  readonly #auth: HostAuth;
  readonly #directory: DataDirectory;
  readonly #roster: Roster;
  readonly #supervised: readonly Supervised[];
  readonly #partitions: Partitions;
  readonly #doorbell: Doorbell;
  readonly #log: Log;
  #backups: Backups | undefined;
  #closing: Promise<void> | undefined;
  #draining: Promise<void> = Promise.resolve();

  private constructor({ directory, resolved, auth, founding, tls, log }: ClusterParts) {
    this.#auth = auth;
    const { logger } = log;
    const hostDoorbell = createDoorbell();
    const mesh = new Mesh();
    const seat = (identity: MemberIdentity, endpoint: Endpoint): Supervised =>
      seatMember({ directory, resolved, founding, mesh, hostDoorbell, logger, roster }, identity, endpoint);
    const roster = new Roster(
      { directory, resolved, auth, mesh, logger, tls, client: this.client(), seat },
      founding.description,
    );
    this.#directory = directory;
    this.#roster = roster;
    this.#supervised = roster.members;
    this.#partitions = new Partitions(mesh, roster.members);
    this.#doorbell = new Doorbell(hostDoorbell);
    this.logger = logger;
    this.#log = log;
    this.tls = tls?.credentials;
    this.dataDir = directory.path;
    this.members = roster.members;
    for (const { identity, endpoint } of founding.seats) seat(identity, endpoint);
  }

  /**
   * Starts a cluster and waits until it has a leader. Throws StartError with one line that names the fix. `threads`:
   * some of the first members' that are loading already; the cluster takes them over.
   */
  static async start(options: ClusterOptions = {}, threads: MemberThread[] = []): Promise<Cluster> {
    const { resolved, log } = await settingsOf(options, threads);
    const { logger } = log;
    while (threads.length < resolved.members) threads.push(new MemberThread(threads.length));
    const ephemeral = resolved.dataDir === undefined;
    const path = resolved.dataDir ?? join(tmpdir(), `kvorum-${process.pid}-${randomBytes(4).toString('hex')}`);
    const endpoints: Endpoint[] = [];
    let directory: DataDirectory | undefined;
    let isRestored = false;
    try {
      if (resolved.backup !== undefined) prepareBackups(resolved.backup);
      const auth = await prepareAuth(resolved.auth, logger);
      if (options.fromSnapshot !== undefined) {
        await restoreFor(resolved, options.fromSnapshot, path);
        isRestored = true;
      }
      directory = DataDirectory.open(path, { ephemeral });
      const places = placesOf(resolved, directory.describe());
      const addresses = places.map(({ address }) => address);
      const tls = await tlsFor(resolved, addresses, directory, logger);
      for (const warning of unusedTlsWarnings(options, resolved)) logger.warn(warning);
      const { settings, http } = resolved;
      for (const { address, metrics } of places) {
        endpoints.push(await Endpoint.bind(address, settings, http, auth, tls, metrics));
      }
      const founding = foundOrReopen(directory, resolved, endpoints);
      while (threads.length < addresses.length) threads.push(new MemberThread(threads.length));
      const cluster = new Cluster({ directory, resolved, auth, founding, tls, log });
      const surplus = threads.splice(cluster.members.length);
      await Promise.all([cluster.#boot(threads), ...surplus.map(thread => thread.abandon())]);
      cluster.#roster.founded();
      if (cluster.exposure !== undefined) logger.warn(cluster.exposure);
      if (resolved.backup !== undefined) cluster.#backUp(resolved.backup, founding.description.clusterId);
      return cluster;
    } catch (error) {
      await Promise.all(threads.map(thread => thread.abandon()));
      for (const endpoint of endpoints) await endpoint.close(0);
      directory?.close();
      log.close();
      // Nothing has run on what was restored: the same call is to be possible again.
      if (isRestored && endpoints.length < resolved.listen.length) rmSync(path, { recursive: true, force: true });
      throw error;
    }
  }

  /** Client URLs, one per member, in member order. */
  get endpoints(): string[] {
    return this.members.map(member => member.endpoint);
  }

  /** A word about members that other machines reach without TLS; undefined: there are none. */
  get exposure(): string | undefined {
    return exposureWarning(this.#supervised.filter(member => member.isExposed).map(({ endpoint }) => endpoint));
  }

  /** The member that leads now, as far as those that are not paused know; undefined while there is none. */
  leader(): ClusterMember | undefined {
    let leader: Supervised | undefined;
    let term = -1;
    for (const member of this.#supervised) {
      const { cells } = member.handle;
      if (!member.running || member.paused || cells.get(Cell.role) !== Role.leader || cells.get(Cell.term) <= term)
        continue;
      leader = member;
      term = cells.get(Cell.term);
    }
    return leader;
  }

  /**
   * Adds a member to the running cluster and starts it: a voter, or a learner that `promote` makes one. Resolves when it
   * is ready to serve.
   */
  addMember(options: AddMemberOptions = {}): Promise<ClusterMember> {
    return this.#roster.add(options);
  }

  /** Removes a member, by name or hexadecimal id, for ever: its thread ends and its data is deleted. */
  removeMember(nameOrId: string): Promise<void> {
    return this.#roster.remove(nameOrId);
  }

  /** Makes a voter of a learner, by name or hexadecimal id; refused until the learner is in sync with the leader. */
  async promoteMember(nameOrId: string): Promise<void> {
    await this.#roster.promote(nameOrId);
  }

  /**
   * Cuts the members of each group off from everybody outside it; members in no group form one of their own. So
   * `partition([leader])` isolates the leader. A partition takes the place of the one before. Clients still reach every
   * member. Throws StartError when a member is in two groups or not of this cluster.
   */
  partition(...groups: readonly (readonly ClusterMember[])[]): void {
    this.#partitions.partition(groups);
  }

  /**
   * Faults of what `from` sends to `to`: messages dropped, late, doubled, out of order, or none at all (`cut`). They take
   * the place of those the link had; `{}` mends it. Throws StartError.
   */
  disturb(from: ClusterMember, to: ClusterMember, faults: Partial<Faults>): void {
    this.#partitions.disturb(from, to, faults);
  }

  /** Mends every link: no partition, no faults. */
  heal(): void {
    this.#partitions.heal();
  }

  /**
   * A client that takes the members' own path without sockets. It ends with the cluster, or by its own `close`. With auth
   * on it has every right: whoever runs the cluster is its administrator.
   */
  client(): EtcdClient {
    return inProcessClient(() => this.#preferredPort(), {
      asker: serverAsks,
      auth: this.#auth,
      isClosed: () => this.#closing !== undefined,
    });
  }

  /**
   * Writes a snapshot of everything acknowledged so far to a file, in the form etcd restores. The file appears complete
   * and checked, or not at all. Rejects with StartError or EtcdError.
   */
  async snapshot(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<SavedSnapshot> {
    const port = this.#preferredPort();
    // Answered when the member has applied everything that was committed.
    await inProcessClient(() => port, { asker: serverAsks, auth: this.#auth }).get('\0', options);
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
      // One that was removed just before the last end learns of it now, and is not waited for.
      const ready = Promise.all(this.#supervised.map(({ handle, retired }) => Promise.race([handle.ready, retired])));
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
    const majority = Math.floor(this.#supervised.length / 2) + 1;
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
      if (b.isVoter !== other.isVoter) return b.isVoter ? at : a;
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
    const member =
      (this.leader() as Supervised | undefined) ??
      this.#supervised.find(other => other.running && !other.paused && !other.removed);
    return (member ?? (this.#supervised[0] as Supervised)).handle.port;
  }

  #backUp(settings: BackupSettings, clusterId: string): void {
    const save = (path: string, signal: AbortSignal) => this.snapshot(path, { signal });
    this.#backups = new Backups(settings, clusterId, save, this.logger);
  }

  async #close(): Promise<void> {
    await this.#backups?.stop();
    await this.#roster.close();
    await Promise.all(this.#supervised.map(member => member.endpointClose(closeGraceMs)));
    await this.#stopMembers();
    this.#directory.close();
    this.logger.info('closed');
    this.#log.close();
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

/** The name and peer URLs of a member where nothing else was said. */
function foundingMember(position: number): { name: string; peerUrls: string[] } {
  return { name: memberName(position), peerUrls: [peerUrl(position)] };
}

/** What the endpoints serve TLS with; undefined: none of them does. */
async function tlsFor(
  { tls, advertise = [] }: ResolvedOptions,
  addresses: readonly ListenAddress[],
  directory: DataDirectory,
  logger: Logger,
): Promise<OpenTls | undefined> {
  if (tls === undefined) return undefined;
  const { openTls } = await import('./tls/open.js');
  const hosts = [...addresses.map(({ host }) => host), ...advertise.map(url => parseClientUrl(url).host)];
  return openTls(tls, hosts, directory.path, logger);
}

/** Makes the data directory that the cluster is going to open. */
async function restoreFor(resolved: ResolvedOptions, file: string, dataDir: string): Promise<void> {
  const { restoreSnapshot } = await import('./restore.js');
  const members = resolved.listen.map((_, at) => foundingMember(at));
  const { durable, quotaBackendBytes } = resolved.settings;
  await restoreSnapshot({ file, dataDir, members, token: resolved.token, durable, quotaBackendBytes });
}

interface ClusterParts {
  readonly directory: DataDirectory;
  readonly resolved: ResolvedOptions;
  readonly auth: HostAuth;
  readonly founding: Founding;
  readonly tls: OpenTls | undefined;
  readonly log: Log;
}

interface Founding {
  readonly clusterId: bigint;
  /** The members the cluster was founded with. */
  readonly identities: readonly MemberIdentity[];
  /** The members to run now. */
  readonly seats: readonly { readonly identity: MemberIdentity; readonly endpoint: Endpoint }[];
  readonly description: Omit<ClusterDescription, 'formatVersion'>;
}

interface Place {
  readonly address: ListenAddress;
  readonly metrics: ListenAddress | undefined;
}

/** Where the members of now listen: the founding ones that are left, then the added ones. */
function placesOf(resolved: ResolvedOptions, known: ClusterDescription | undefined): Place[] {
  const { listen, listenMetrics, secureAdded: secure } = resolved;
  const founding = listen.map((address, at) => ({ address, metrics: listenMetrics[at] }));
  const left = founding.filter((_, at) => !(known?.removed ?? []).includes(known?.members[at]?.id ?? ''));
  const added = (known?.added ?? []).map(({ clientUrl, metricsUrl }) => ({
    address: { ...parseClientUrl(clientUrl), secure },
    metrics: addedMetricsAddress(resolved, metricsUrl),
  }));
  return [...left, ...added];
}

function foundOrReopen(directory: DataDirectory, resolved: ResolvedOptions, endpoints: readonly Endpoint[]): Founding {
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
    clientUrls: [],
  }));
  const description: Omit<ClusterDescription, 'formatVersion'> = known ?? {
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
  const { added = [], removed = [] } = description;
  const left = identities.filter(({ id }) => !removed.includes(id.toString(16)));
  const seats = [...left, ...added.map(member => ({ ...member, id: BigInt(`0x${member.id}`) }))].map(
    ({ id, name, peerUrls }, at) => {
      const endpoint = endpoints[at] as Endpoint;
      const advertised = resolved.advertise?.[identities.findIndex(founder => founder.id === id)];
      return { identity: { id, name, peerUrls, clientUrls: [advertised ?? endpoint.url] }, endpoint };
    },
  );
  return { clusterId: ids.clusterId, identities, seats, description };
}

interface Seating {
  readonly directory: DataDirectory;
  readonly resolved: ResolvedOptions;
  readonly founding: Founding;
  readonly mesh: Mesh;
  readonly hostDoorbell: DoorbellBuffer;
  readonly logger: Logger;
  readonly roster: Roster;
}

/** Gives a member its place among the others; its thread is started later. */
function seatMember(seating: Seating, identity: MemberIdentity, endpoint: Endpoint): Supervised {
  const { directory, resolved, founding, mesh, hostDoorbell, logger, roster } = seating;
  const { description } = founding;
  const isFounding = founding.identities.some(({ id }) => id === identity.id);
  const known = description.added?.find(({ id }) => id === identity.id.toString(16));
  const position = mesh.join(identity.id);
  const recipe = {
    position,
    clusterId: founding.clusterId,
    identity,
    founding: isFounding ? founding.identities : [],
    directory: directory.memberDirectory(identity.name),
    settings: resolved.settings,
    mayFound: !(isFounding ? description.complete : known?.complete === true),
    doorbell: mesh.doorbell(position),
    hostDoorbell,
    peers: () => mesh.peersOf(position),
  };
  const callbacks = {
    gone: () => {
      for (const { handle } of roster.members) if (handle.position !== position) handle.port.peerGone(position);
    },
    members: (appliedIndex: number, list: Uint8Array) => roster.heard(identity.id, appliedIndex, list),
  };
  const member = new Supervised(identity, endpoint, logger, callbacks, rest => new MemberHandle(recipe, rest));
  for (const { handle } of roster.members) handle.connect(mesh.between(handle.position, position));
  roster.members.push(member);
  return member;
}

/** What a cluster starts with. Threads that will not be needed, because the options are wrong, end first. */
async function settingsOf(options: ClusterOptions, threads: readonly MemberThread[]) {
  try {
    const resolved = resolveOptions(options);
    return { resolved, log: openLog(resolved.log) };
  } catch (error) {
    await Promise.all(threads.map(thread => thread.abandon()));
    throw error;
  }
}
