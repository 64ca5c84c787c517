/**
 * What a cluster is started with: the user's options, their defaults (etcd's where etcd has the flag) and their checks.
 *
 * Every refusal is a StartError of one line that names the option and the way out; where etcd refuses the same thing,
 * the text is etcd's.
 */

import type { MemberSettings } from '../transport/control.js';
import type { AuthSettings } from './auth/host-auth.js';
import { parseTokenOptions, type TokenOptions } from './auth/token-options.js';
import type { BackupSettings } from './backups.js';
import { StartError } from './data-directory.js';
import { parseDurationMs } from './duration.js';
import { type EdgeOptions, edgeLimits } from './edge.js';
import type { Http2Limits } from './http2/limits.js';
import type { LogSettings } from './logger.js';
import type { ClusterTlsOptions } from './tls/settings.js';

export interface ClusterOptions extends EdgeOptions {
  /** Number of members, 1 to 7; default 3. */
  readonly members?: number;
  /** Where the stores live; survives restarts. Without it the cluster is ephemeral. */
  readonly dataDir?: string;
  /** A temporary directory, removed on close; writes are not synced to disk. */
  readonly ephemeral?: boolean;
  /** A snapshot file, of kvorum or of etcd, that a new cluster begins with; `dataDir` must not hold one yet. */
  readonly fromSnapshot?: string;
  /** Where snapshot files are written in the background; default: nowhere. */
  readonly backupDir?: string;
  /** How often; default one hour, at least one second. */
  readonly backupIntervalMs?: number;
  /** How many of them are kept; default 24. */
  readonly backupRetention?: number;
  /** Client port of each member on 127.0.0.1; 0 picks a free one. Default: free ones. */
  readonly ports?: readonly number[];
  /** Client URL of each member (http://host:port, https://host:port); instead of `ports`. */
  readonly listenClientUrls?: readonly string[];
  /** Client URL that each member tells clients; default: where it listens. */
  readonly advertiseClientUrls?: readonly string[];
  /**
   * TLS on client endpoints: on all of them, or with `listenClientUrls` on those that say https. `true` makes certificates:
   * see `Cluster.tls`.
   */
  readonly tls?: boolean | ClusterTlsOptions;
  /** etcd's --initial-cluster-token; enters the cluster and member ids. Default `etcd-cluster`. */
  readonly token?: string;
  readonly heartbeatIntervalMs?: number;
  readonly electionTimeoutMs?: number;
  /** Applied entries between log compactions; default 10000. */
  readonly snapshotCount?: number;
  /** Entries kept behind a compaction for slow followers; default 5000. */
  readonly snapshotCatchUpEntries?: number;
  readonly maxTxnOps?: number;
  readonly maxRequestBytes?: number;
  /** 0 = etcd's default (2 GiB), negative = none. */
  readonly quotaBackendBytes?: number;
  /** etcd's --watch-progress-notify-interval; default 10 minutes, at least 100 ms. */
  readonly watchProgressNotifyIntervalMs?: number;
  /** Replicate the time that long leases have left, so that a new leader does not start them over. Default false. */
  readonly leaseCheckpoint?: boolean;
  /** Refuse membership changes that could cost the quorum; default true, as etcd's flag. */
  readonly strictReconfigCheck?: boolean;
  /**
   * Start a thread, on a free port, for a member that a client has added (`etcdctl member add`); default true. Without it
   * such a member stays "unstarted", as in etcd until somebody starts its process; `addMember` starts its own always.
   */
  readonly startAddedMembers?: boolean;
  /** etcd's --auto-compaction-mode; default `periodic`. */
  readonly autoCompactionMode?: 'periodic' | 'revision';
  /** etcd's --auto-compaction-retention: hours or a duration like `30m`, or revisions; default `0`, never. */
  readonly autoCompactionRetention?: string;
  /** etcd's --corrupt-check-time: how often the leader compares the members' hashes; default 0, never. */
  readonly corruptCheckIntervalMs?: number;
  /** etcd's gate CompactHashCheck: the leader compares the hashes that compactions take on the way. Default false. */
  readonly compactHashCheck?: boolean;
  /** etcd's --compact-hash-check-time: how often it does; default one minute. */
  readonly compactHashCheckIntervalMs?: number;
  /** etcd's gate StopGRPCServiceOnDefrag: gRPC health says NOT_SERVING during a defragmentation. Default false. */
  readonly stopGrpcServiceOnDefrag?: boolean;
  /** etcd's gate InitialCorruptCheck: a starting member compares its hash with the others'. Default false. */
  readonly initialCorruptCheck?: boolean;
  /** Web origins whose scripts may use the HTTP API, `*` for any; default none, where etcd allows any. */
  readonly cors?: readonly string[];
  /** Host names that a cleartext HTTP request may be for; default any. */
  readonly hostWhitelist?: readonly string[];
  /** `extensive` adds how long calls take to the metrics; default `basic`. */
  readonly metrics?: 'basic' | 'extensive';
  /**
   * One more URL for each member that serves its metrics and health checks only. A member that is added gets one too, on
   * the host of the first and a free port that it keeps.
   */
  readonly listenMetricsUrls?: readonly string[];
  /** etcd's JSON gateway under /v3/; default true. */
  readonly enableGrpcGateway?: boolean;
  /** etcd's --auth-token: `simple` (default), or `jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m`. */
  readonly authToken?: string;
  /** etcd's --auth-token-ttl: seconds a simple token lives after its last use; default 300. */
  readonly authTokenTtlSeconds?: number;
  /** etcd's --bcrypt-cost of passwords, 4 to 31; default 10. */
  readonly bcryptCost?: number;
  /** `debug`, `info`, `warn`, `error` or `silent`; default `warn` for the library, `info` for the command. */
  readonly logLevel?: LogLevel;
  /** etcd's --log-format; default `console` for terminals, `json` for everything else. */
  readonly logFormat?: LogFormat;
  /** etcd's --log-outputs: `stderr`, `stdout` or files; default stderr. */
  readonly logOutputs?: readonly string[];
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  /** TLS. */
  readonly secure: boolean;
}

/** What an endpoint serves over plain HTTP, and to whom; what a client may take of it. */
export interface HttpSettings {
  readonly cors: readonly string[];
  readonly hostWhitelist: readonly string[];
  readonly enableGrpcGateway: boolean;
  readonly metrics: 'basic' | 'extensive';
  readonly limits: Partial<Http2Limits>;
}

export interface ResolvedOptions {
  readonly members: number;
  readonly dataDir: string | undefined;
  readonly listen: readonly ListenAddress[];
  /** By member; empty: none. */
  readonly listenMetrics: readonly ListenAddress[];
  /** What the founding members publish, where that is not where they listen. */
  readonly advertise: readonly string[] | undefined;
  /** Undefined: no endpoint is encrypted. */
  readonly tls: ClusterTlsOptions | undefined;
  /** Whether endpoints of members that are added get TLS: as soon as one of the others has it. */
  readonly secureAdded: boolean;
  readonly token: string;
  readonly log: LogSettings;
  readonly startAddedMembers: boolean;
  readonly settings: MemberSettings;
  readonly auth: AuthSettings;
  readonly http: HttpSettings;
  readonly backup: BackupSettings | undefined;
}

export const logLevels = ['debug', 'info', 'warn', 'error', 'panic', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** `json`: a line a record, as etcd's; `console`: for people. */
export const logFormats = ['json', 'console'] as const;
export type LogFormat = (typeof logFormats)[number];

/** Client ports of etcd's own Procfile, continued to seven members. */
export const defaultClientPorts: readonly number[] = [2379, 22379, 32379, 42379, 52379, 62379, 12379];
/** Peer ports likewise. Nothing listens there: peer URLs only enter the ids, so that ids mean what etcd's mean. */
const peerPorts: readonly number[] = [12380, 22380, 32380, 42380, 52380, 62380, 2380];

/** etcd's defaultLeaseCheckpointInterval. */
const leaseCheckpointIntervalMs = 5 * 60 * 1000;

export const membersMax = 7;

/** The peer URL that stands for the member at `position` in ids and member lists. */
export function peerUrl(position: number): string {
  return `http://127.0.0.1:${peerPorts[position]}`;
}

/** A peer URL for one more member, used by none of the others; nothing listens there either. */
export function freePeerUrl(used: readonly string[]): string {
  for (let position = 0; position < membersMax; position++) {
    if (!used.includes(peerUrl(position))) return peerUrl(position);
  }
  let port = 12_381;
  while (used.includes(`http://127.0.0.1:${port}`)) port += 1;
  return `http://127.0.0.1:${port}`;
}

/** The name of the member at `position`: m1, m2, … */
export function memberName(position: number): string {
  return `m${position + 1}`;
}

/** Applies defaults and checks; throws StartError. */
export function resolveOptions(options: ClusterOptions): ResolvedOptions {
  const members = options.members ?? options.listenClientUrls?.length ?? options.ports?.length ?? 3;
  if (!Number.isInteger(members) || members < 1 || members > membersMax) {
    throw new StartError(`--members must be a whole number from 1 to ${membersMax}, not ${members}; use 3`);
  }
  if (options.ephemeral === true && options.dataDir !== undefined) {
    throw new StartError('--ephemeral and --data-dir exclude each other; drop one of them');
  }
  const tls = tlsOptions(options);
  const listen = listenAddresses(options, members, tls !== undefined);
  const open = listen.find(({ secure }) => secure);
  if (open !== undefined && tls === undefined) {
    const url = `https://${open.host}:${open.port}`;
    throw new StartError(
      `TLS key/cert (--cert-file, --key-file) must be provided for client url ${url} with HTTPS scheme`,
    );
  }
  const tokens = parseTokenOptions(options.authToken ?? 'simple');
  return {
    members,
    dataDir: options.dataDir,
    listen,
    listenMetrics: metricsAddresses(options, members),
    advertise: advertisedUrls(options, members),
    tls: open === undefined ? undefined : tls,
    secureAdded: open !== undefined,
    token: options.token ?? 'etcd-cluster',
    log: {
      level: options.logLevel ?? 'warn',
      format: options.logFormat,
      outputs: options.logOutputs ?? ['default'],
    },
    startAddedMembers: options.startAddedMembers ?? true,
    settings: memberSettings(options, tokens),
    auth: {
      tokens,
      bcryptCost: bcryptCostOf(options.bcryptCost),
      commonNames: tls?.clientCertAuth === true,
    },
    http: {
      cors: options.cors ?? [],
      hostWhitelist: options.hostWhitelist ?? ['*'],
      enableGrpcGateway: options.enableGrpcGateway ?? true,
      metrics: metricsLevel(options.metrics ?? 'basic'),
      limits: edgeLimits(options, members, members + (options.listenMetricsUrls?.length ?? 0)),
    },
    backup: backupSettings(options),
  };
}

/** The TLS options if they come with certificates, or have some made; undefined otherwise. */
function tlsOptions({ tls }: ClusterOptions): ClusterTlsOptions | undefined {
  if (tls === undefined || tls === false) return undefined;
  const options = tls === true ? {} : tls;
  const isGiven = (options.certFile ?? '') !== '' || (options.keyFile ?? '') !== '';
  return isGiven || options.autoTls !== false ? options : undefined;
}

/** What etcd warns of: TLS options that do nothing for an endpoint whose URL says http. */
export function unusedTlsWarnings(options: ClusterOptions, { listen }: ResolvedOptions): string[] {
  if (tlsOptions(options) === undefined || options.listenClientUrls === undefined) return [];
  const plain = listen.filter(({ secure }) => !secure).map(({ host, port }) => `http://${host}:${port}`);
  return plain.map(
    url => `scheme is http or unix while key and cert files are present; ignoring key and cert files: ${url}`,
  );
}

function advertisedUrls({ advertiseClientUrls: urls }: ClusterOptions, members: number): readonly string[] | undefined {
  if (urls !== undefined && urls.length !== members) {
    throw new StartError(
      `--advertise-client-urls names ${urls.length} URLs for ${members} members; give one per member`,
    );
  }
  for (const url of urls ?? []) {
    if (!/^https?:\/\/(\[[0-9a-fA-F:.]+\]|[^:/?#[\]\s]+):\d+\/?$/.test(url.trim())) {
      throw new StartError(`--advertise-client-urls: ${url} is not a client URL; write http://host:2379`);
    }
  }
  return urls?.map(url => url.trim());
}

/** etcd takes its default for a cost that bcrypt does not know, with a warning; a start is the time to say so. */
function bcryptCostOf(cost = 10): number {
  if (Number.isInteger(cost) && cost >= 4 && cost <= 31) return cost;
  throw new StartError(`--bcrypt-cost must be a whole number from 4 to 31, not ${cost}; use 10`);
}

function backupSettings(options: ClusterOptions): BackupSettings | undefined {
  const { backupDir, backupIntervalMs = 3_600_000, backupRetention = 24 } = options;
  if (backupDir === undefined) {
    if (options.backupIntervalMs === undefined && options.backupRetention === undefined) return undefined;
    throw new StartError('--backup-interval and --backup-retention need a --backup-dir');
  }
  if (backupDir === '') throw new StartError('--backup-dir is empty; name a directory');
  if (!Number.isSafeInteger(backupIntervalMs) || backupIntervalMs < 1_000) {
    throw new StartError(`--backup-interval must be at least 1s, not ${backupIntervalMs}ms; use 1h`);
  }
  if (!Number.isSafeInteger(backupRetention) || backupRetention < 1) {
    throw new StartError(`--backup-retention must be a whole number of files, at least 1, not ${backupRetention}`);
  }
  return { directory: backupDir, intervalMs: backupIntervalMs, retention: backupRetention };
}

function memberSettings(options: ClusterOptions, tokens: TokenOptions): MemberSettings {
  const settings: MemberSettings = {
    heartbeatIntervalMs: options.heartbeatIntervalMs ?? 100,
    electionTimeoutMs: options.electionTimeoutMs ?? 1000,
    snapshotCount: options.snapshotCount ?? 10_000,
    snapshotCatchUpEntries: options.snapshotCatchUpEntries ?? 5_000,
    maxTxnOps: options.maxTxnOps ?? 128,
    maxRequestBytes: options.maxRequestBytes ?? 1_572_864,
    quotaBackendBytes: options.quotaBackendBytes ?? 0,
    watchProgressNotifyIntervalMs: options.watchProgressNotifyIntervalMs || 600_000,
    leaseCheckpointIntervalMs: options.leaseCheckpoint === true ? leaseCheckpointIntervalMs : 0,
    strictReconfigCheck: options.strictReconfigCheck ?? true,
    autoCompaction: autoCompaction(options.autoCompactionMode ?? 'periodic', options.autoCompactionRetention ?? '0'),
    corruptCheckIntervalMs: options.corruptCheckIntervalMs ?? 0,
    compactHashCheckIntervalMs: compactHashCheckInterval(options),
    stopGrpcServiceOnDefrag: options.stopGrpcServiceOnDefrag ?? false,
    initialCorruptCheck: options.initialCorruptCheck ?? false,
    authToken: tokens === undefined ? 'simple' : 'jwt',
    authTokenTtlSeconds: options.authTokenTtlSeconds || 300,
    durable: options.dataDir !== undefined,
  };
  for (const [name, flag, min] of [
    ['heartbeatIntervalMs', '--heartbeat-interval', 1],
    ['electionTimeoutMs', '--election-timeout', 1],
    ['snapshotCount', '--snapshot-count', 1],
    ['snapshotCatchUpEntries', '--snapshot-catchup-entries', 0],
    ['maxTxnOps', '--max-txn-ops', 1],
    ['maxRequestBytes', '--max-request-bytes', 1],
    ['authTokenTtlSeconds', '--auth-token-ttl', 1],
    ['corruptCheckIntervalMs', '--corrupt-check-time', 0],
    ['watchProgressNotifyIntervalMs', '--watch-progress-notify-interval', 100],
  ] as const) {
    const value = settings[name];
    if (!Number.isSafeInteger(value) || value < min) {
      throw new StartError(`${flag} must be a whole number of at least ${min}, not ${value}`);
    }
  }
  if (!Number.isSafeInteger(settings.quotaBackendBytes)) {
    throw new StartError(`--quota-backend-bytes must be a whole number, not ${settings.quotaBackendBytes}`);
  }
  const { electionTimeoutMs, heartbeatIntervalMs } = settings;
  if (electionTimeoutMs < 5 * heartbeatIntervalMs) {
    throw new StartError(
      `--election-timeout[${electionTimeoutMs}ms] should be at least as 5 times as ` +
        `--heartbeat-interval[${heartbeatIntervalMs}ms]`,
    );
  }
  if (electionTimeoutMs > 50_000) {
    throw new StartError(`--election-timeout[${electionTimeoutMs}ms] is too long, and should be set less than 50000ms`);
  }
  return settings;
}

/** 0: the gate is closed. Throws StartError, as etcd also when it is. */
function compactHashCheckInterval({ compactHashCheck = false, compactHashCheckIntervalMs = 60_000 }: ClusterOptions) {
  if (!Number.isSafeInteger(compactHashCheckIntervalMs) || compactHashCheckIntervalMs <= 0) {
    throw new StartError(`--compact-hash-check-time must be >0 (set to ${compactHashCheckIntervalMs}ms)`);
  }
  return compactHashCheck ? compactHashCheckIntervalMs : 0;
}

/** What the two flags mean together. A plain number is hours to the one mode and revisions to the other, as in etcd. */
function autoCompaction(mode: string, text: string): MemberSettings['autoCompaction'] {
  if (mode !== 'periodic' && mode !== 'revision') throw new StartError(`unknown auto-compaction-mode "${mode}"`);
  const number = /^\d+$/.test(text) ? Number(text) : undefined;
  const retention = mode === 'revision' ? number : number === undefined ? parseDurationMs(text) : number * 3_600_000;
  if (retention === undefined || !Number.isSafeInteger(Math.round(retention))) {
    const wanted = mode === 'revision' ? 'a number of revisions' : 'a number of hours or a duration like 30m';
    throw new StartError(`--auto-compaction-retention is ${wanted} in mode ${mode}, not ${text}`);
  }
  return { mode, retention };
}

function listenAddresses(options: ClusterOptions, members: number, secure: boolean): ListenAddress[] {
  if (options.listenClientUrls !== undefined) {
    const urls = options.listenClientUrls;
    if (urls.length !== members) {
      throw new StartError(
        `--listen-client-urls names ${urls.length} URLs for ${members} members; give one per member`,
      );
    }
    const addresses = urls.map(url => parseClientUrl(url));
    refuseTwice(addresses);
    return addresses;
  }
  const ports = options.ports ?? new Array<number>(members).fill(0);
  if (ports.length !== members) {
    throw new StartError(`ports names ${ports.length} ports for ${members} members; give one per member`);
  }
  const addresses = ports.map(port => checkedAddress({ host: '127.0.0.1', port, secure }, String(port)));
  refuseTwice(addresses);
  return addresses;
}

/** Throws StartError. */
function metricsLevel(level: string): 'basic' | 'extensive' {
  if (level === 'basic' || level === 'extensive') return level;
  throw new StartError(`--metrics is basic or extensive, not ${level}`);
}

function metricsAddresses({ listenMetricsUrls: urls = [] }: ClusterOptions, members: number): ListenAddress[] {
  if (urls.length > 0 && urls.length !== members) {
    throw new StartError(`--listen-metrics-urls names ${urls.length} URLs for ${members} members; give one per member`);
  }
  const addresses = urls.map(url => parseClientUrl(url, '--listen-metrics-urls'));
  if (addresses.some(({ secure }) => secure)) {
    throw new StartError('--listen-metrics-urls are http URLs; what they show is no secret');
  }
  refuseTwice(addresses, '--listen-metrics-urls');
  return addresses;
}

/** Where an added member's metrics are: where they were, or on a free port; undefined without metrics URLs. */
export function addedMetricsAddress({ listenMetrics }: ResolvedOptions, known?: string): ListenAddress | undefined {
  const [first] = listenMetrics;
  if (first === undefined) return undefined;
  return known === undefined ? { ...first, port: 0 } : parseClientUrl(known, '--listen-metrics-urls');
}

/** The address of a client URL; throws StartError. */
export function parseClientUrl(text: string, flag = '--listen-client-urls'): ListenAddress {
  const match = /^http(s?):\/\/(\[[0-9a-fA-F:.]+\]|[^:/?#[\]]+):(\d+)\/?$/.exec(text.trim());
  if (match === null) {
    throw new StartError(`${flag}: ${text} is not a client URL; write http://127.0.0.1:2379`);
  }
  const host = (match[2] as string).replace(/^\[|\]$/g, '');
  return checkedAddress({ host, port: Number(match[3]), secure: match[1] === 's' }, text, flag);
}

function checkedAddress(address: ListenAddress, text: string, flag = '--listen-client-urls'): ListenAddress {
  const { port } = address;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new StartError(`${flag}: ${text} has no valid port; use 0 (any free port) to 65535`);
  }
  return address;
}

function refuseTwice(addresses: readonly ListenAddress[], flag = '--listen-client-urls'): void {
  const seen = new Set<string>();
  for (const { host, port } of addresses) {
    const text = `${host}:${port}`;
    if (port !== 0 && seen.has(text)) {
      throw new StartError(`${flag} names ${text} twice; each member needs an address of its own`);
    }
    seen.add(text);
  }
}
