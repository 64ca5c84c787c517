/**
 * The command's flags: one table, read from the command line and from ETCD_* variables as etcd reads them.
 *
 * `--flag value`, `--flag=value` and `-flag` are the same; a boolean is `--flag` or `--flag=false`. A flag and its
 * variable at once is an error, as in etcd; an unknown flag names the nearest known one.
 */
import { StartError } from '../host/data-directory.js';
import { parseDurationMs } from '../host/duration.js';
import { type ClusterOptions, logFormats, logLevels } from '../host/options.js';
import type { ClusterTlsOptions } from '../host/tls/settings.js';

type FlagKind = 'text' | 'number' | 'duration' | 'boolean';

interface Flag {
  readonly name: string;
  readonly kind: FlagKind;
  readonly placeholder: string;
  readonly help: string;
}

/** Every flag of `kvorum start`, in the order of the help text. */
export const flags: readonly Flag[] = [
  { name: 'members', kind: 'number', placeholder: 'N', help: 'members of the cluster: 1, 3, 5 or 7 (default 3)' },
  { name: 'data-dir', kind: 'text', placeholder: 'DIR', help: 'where the data lives (default kvorum.data)' },
  { name: 'ephemeral', kind: 'boolean', placeholder: '', help: 'temporary data, not synced, removed on exit' },
  {
    name: 'listen-client-urls',
    kind: 'text',
    placeholder: 'U1,U2,…',
    help: 'one URL per member; port 0 picks a free port (default http://127.0.0.1:2379, :22379, :32379; https with TLS)',
  },
  {
    name: 'advertise-client-urls',
    kind: 'text',
    placeholder: 'U1,U2,…',
    help: 'what the members tell clients, one URL per member (default: where they listen)',
  },
  { name: 'initial-cluster-token', kind: 'text', placeholder: 'TOKEN', help: 'enters the ids (default etcd-cluster)' },
  { name: 'heartbeat-interval', kind: 'number', placeholder: 'MS', help: 'default 100' },
  { name: 'election-timeout', kind: 'number', placeholder: 'MS', help: 'default 1000' },
  { name: 'snapshot-count', kind: 'number', placeholder: 'N', help: 'entries between log compactions (default 10000)' },
  {
    name: 'snapshot-catchup-entries',
    kind: 'number',
    placeholder: 'N',
    help: 'entries kept for slow members (default 5000)',
  },
  { name: 'max-txn-ops', kind: 'number', placeholder: 'N', help: 'operations in one transaction (default 128)' },
  { name: 'max-request-bytes', kind: 'number', placeholder: 'BYTES', help: 'largest write (default 1572864)' },
  {
    name: 'quota-backend-bytes',
    kind: 'number',
    placeholder: 'BYTES',
    help: 'store size that raises NOSPACE (0: 2 GiB, negative: no quota)',
  },
  {
    name: 'watch-progress-notify-interval',
    kind: 'duration',
    placeholder: 'TIME',
    help: 'how often a quiet watcher hears of the revision, if it asked to (default 10m)',
  },
  {
    name: 'feature-gates',
    kind: 'text',
    placeholder: 'GATES',
    help: 'LeaseCheckpoint, InitialCorruptCheck, CompactHashCheck, StopGRPCServiceOnDefrag, AllAlpha: =true opens them',
  },
  {
    name: 'auto-compaction-mode',
    kind: 'text',
    placeholder: 'MODE',
    help: 'periodic or revision (default periodic)',
  },
  {
    name: 'auto-compaction-retention',
    kind: 'text',
    placeholder: 'LENGTH',
    help: 'history that is kept: hours or a duration, or a number of revisions (default 0: everything)',
  },
  {
    name: 'corrupt-check-time',
    kind: 'duration',
    placeholder: 'TIME',
    help: "how often the leader compares the members' hashes (default 0: never)",
  },
  {
    name: 'compact-hash-check-time',
    kind: 'duration',
    placeholder: 'TIME',
    help: 'how often it compares the hashes of compactions, with the gate CompactHashCheck (default 1m)',
  },
  {
    name: 'strict-reconfig-check',
    kind: 'boolean',
    placeholder: '',
    help: 'refuse membership changes that could cost the quorum (default true)',
  },
  {
    name: 'start-added-members',
    kind: 'boolean',
    placeholder: '',
    help: 'start a thread, on a free port, for a member added by a client (default true)',
  },
  {
    name: 'cors',
    kind: 'text',
    placeholder: 'O1,O2,…',
    help: "web origins whose scripts may use the HTTP API, '*' for any (default none; etcd's default is any)",
  },
  {
    name: 'host-whitelist',
    kind: 'text',
    placeholder: 'H1,H2,…',
    help: 'hosts that a cleartext HTTP request may be for (default *)',
  },
  {
    name: 'max-concurrent-streams',
    kind: 'number',
    placeholder: 'N',
    help: 'calls one connection may have at a time (default 4294967295)',
  },
  {
    name: 'grpc-keepalive-min-time',
    kind: 'duration',
    placeholder: 'TIME',
    help: 'a client that pings more often is disconnected (default 5s)',
  },
  {
    name: 'grpc-keepalive-interval',
    kind: 'duration',
    placeholder: 'TIME',
    help: 'a client silent for so long is pinged (default 2h, 0: never)',
  },
  {
    name: 'grpc-keepalive-timeout',
    kind: 'duration',
    placeholder: 'TIME',
    help: 'how long such a ping may stay unanswered (default 20s)',
  },
  { name: 'enable-grpc-gateway', kind: 'boolean', placeholder: '', help: 'the JSON API under /v3/ (default true)' },
  {
    name: 'metrics',
    kind: 'text',
    placeholder: 'LEVEL',
    help: 'basic, or extensive: with how long calls take (default basic)',
  },
  {
    name: 'listen-metrics-urls',
    kind: 'text',
    placeholder: 'U1,U2,…',
    help: 'one more URL per member, for its /metrics and health checks only',
  },
  { name: 'cert-file', kind: 'text', placeholder: 'FILE', help: 'certificate of the client endpoints, PEM' },
  { name: 'key-file', kind: 'text', placeholder: 'FILE', help: 'its key' },
  { name: 'client-cert-auth', kind: 'boolean', placeholder: '', help: 'let in only clients with a certificate' },
  { name: 'trusted-ca-file', kind: 'text', placeholder: 'FILE', help: 'authorities whose clients are let in, PEM' },
  { name: 'client-crl-file', kind: 'text', placeholder: 'FILE', help: 'client certificates that are revoked' },
  {
    name: 'client-cert-allowed-hostname',
    kind: 'text',
    placeholder: 'H1,H2,…',
    help: 'let in only clients whose certificate is for one of these names',
  },
  {
    name: 'auto-tls',
    kind: 'boolean',
    placeholder: '',
    help: 'make an authority and certificates for server and clients, kept in the data directory',
  },
  {
    name: 'self-signed-cert-validity',
    kind: 'number',
    placeholder: 'YEARS',
    help: 'how long those are valid (default 1)',
  },
  {
    name: 'cipher-suites',
    kind: 'text',
    placeholder: 'S1,S2,…',
    help: "TLS 1.2 suites by Go's names (default: the good)",
  },
  { name: 'tls-min-version', kind: 'text', placeholder: 'VERSION', help: 'TLS1.2 or TLS1.3 (default TLS1.2)' },
  { name: 'tls-max-version', kind: 'text', placeholder: 'VERSION', help: 'TLS1.2 or TLS1.3 (default: the newest)' },
  { name: 'backup-dir', kind: 'text', placeholder: 'DIR', help: 'where snapshot files are written in the background' },
  { name: 'backup-interval', kind: 'duration', placeholder: 'TIME', help: 'how often (default 1h)' },
  { name: 'backup-retention', kind: 'number', placeholder: 'N', help: 'how many of them are kept (default 24)' },
  {
    name: 'auth-token',
    kind: 'text',
    placeholder: 'SPEC',
    help: 'simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m (default simple)',
  },
  {
    name: 'auth-token-ttl',
    kind: 'number',
    placeholder: 'SECONDS',
    help: 'how long a simple token lives after its last use (default 300)',
  },
  { name: 'bcrypt-cost', kind: 'number', placeholder: 'N', help: 'cost of hashing a password, 4 to 31 (default 10)' },
  {
    name: 'log-level',
    kind: 'text',
    placeholder: 'LEVEL',
    help: 'debug, info, warn, error, panic, fatal (default info)',
  },
  {
    name: 'log-format',
    kind: 'text',
    placeholder: 'FORMAT',
    help: 'json or console (default console on a terminal, json elsewhere)',
  },
  { name: 'log-outputs', kind: 'text', placeholder: 'O1,O2,…', help: 'stderr, stdout or files (default stderr)' },
  { name: 'help', kind: 'boolean', placeholder: '', help: 'print this text' },
  { name: 'version', kind: 'boolean', placeholder: '', help: 'print the version' },
];

export type FlagValues = Map<string, string>;

/** The environment variable of a flag: `--data-dir` is ETCD_DATA_DIR. */
export function variableOf(flagName: string): string {
  return `ETCD_${flagName.toUpperCase().replaceAll('-', '_')}`;
}

/** Reads arguments and environment; throws StartError with one line that names the fix. */
export function readFlags(args: readonly string[], environment: NodeJS.ProcessEnv): FlagValues {
  const values: FlagValues = new Map();
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] as string;
    const match = /^--?([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(argument);
    if (match === null) throw new StartError(`unexpected argument ${argument}; see kvorum --help`);
    const flag = flags.find(candidate => candidate.name === match[1]);
    if (flag === undefined)
      throw new StartError(`unknown flag --${match[1]}${suggestion(match[1] as string)}; see kvorum --help`);
    let value = match[2];
    if (value === undefined && flag.kind === 'boolean') value = 'true';
    if (value === undefined) {
      at += 1;
      value = args[at];
      if (value === undefined) throw new StartError(`--${flag.name} needs a value: --${flag.name} ${flag.placeholder}`);
    }
    values.set(flag.name, value);
  }
  for (const flag of flags) {
    const variable = variableOf(flag.name);
    const value = environment[variable];
    if (value === undefined || flag.name === 'version' || flag.name === 'help') continue;
    if (values.has(flag.name)) {
      throw new StartError(
        `conflicting environment variable is shadowed by corresponding command-line flag: unset ${variable} or drop --${flag.name}`,
      );
    }
    values.set(flag.name, value);
  }
  return values;
}

/** ETCD_* variables that mean nothing here: worth a warning, as in etcd. */
export function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = new Set(flags.map(flag => variableOf(flag.name)));
  return Object.keys(environment).filter(name => name.startsWith('ETCD_') && !known.has(name));
}

/** The cluster options the values stand for; throws StartError. */
export function clusterOptions(values: FlagValues, defaultPorts: readonly number[]): ClusterOptions {
  const ephemeral = booleanOf(values, 'ephemeral');
  const urls = values.get('listen-client-urls')?.split(',');
  const members = numberOf(values, 'members') ?? urls?.length ?? 3;
  const dataDir = values.get('data-dir') ?? (ephemeral ? undefined : 'kvorum.data');
  const options: Record<string, unknown> = {
    members,
    dataDir,
    ephemeral: ephemeral ? true : undefined,
    listenClientUrls: urls,
    advertiseClientUrls: listOf(values, 'advertise-client-urls'),
    tls: tlsOf(values),
    ports: urls === undefined ? defaultPorts.slice(0, members) : undefined,
    token: values.get('initial-cluster-token'),
    heartbeatIntervalMs: numberOf(values, 'heartbeat-interval'),
    electionTimeoutMs: numberOf(values, 'election-timeout'),
    snapshotCount: numberOf(values, 'snapshot-count'),
    snapshotCatchUpEntries: numberOf(values, 'snapshot-catchup-entries'),
    maxTxnOps: numberOf(values, 'max-txn-ops'),
    maxRequestBytes: numberOf(values, 'max-request-bytes'),
    quotaBackendBytes: numberOf(values, 'quota-backend-bytes'),
    watchProgressNotifyIntervalMs: durationOf(values, 'watch-progress-notify-interval'),
    leaseCheckpoint: gateOf(values, 'LeaseCheckpoint'),
    strictReconfigCheck: optionalBooleanOf(values, 'strict-reconfig-check'),
    startAddedMembers: optionalBooleanOf(values, 'start-added-members'),
    autoCompactionMode: values.get('auto-compaction-mode'),
    autoCompactionRetention: values.get('auto-compaction-retention'),
    corruptCheckIntervalMs: durationOf(values, 'corrupt-check-time'),
    compactHashCheck: gateOf(values, 'CompactHashCheck'),
    compactHashCheckIntervalMs: durationOf(values, 'compact-hash-check-time'),
    stopGrpcServiceOnDefrag: gateOf(values, 'StopGRPCServiceOnDefrag'),
    initialCorruptCheck: gateOf(values, 'InitialCorruptCheck'),
    cors: listOf(values, 'cors'),
    hostWhitelist: listOf(values, 'host-whitelist'),
    enableGrpcGateway: optionalBooleanOf(values, 'enable-grpc-gateway'),
    maxConcurrentStreams: numberOf(values, 'max-concurrent-streams'),
    grpcKeepaliveMinTimeMs: durationOf(values, 'grpc-keepalive-min-time'),
    grpcKeepaliveIntervalMs: durationOf(values, 'grpc-keepalive-interval'),
    grpcKeepaliveTimeoutMs: durationOf(values, 'grpc-keepalive-timeout'),
    metrics: values.get('metrics'),
    listenMetricsUrls: listOf(values, 'listen-metrics-urls'),
    backupDir: values.get('backup-dir'),
    backupIntervalMs: durationOf(values, 'backup-interval'),
    backupRetention: numberOf(values, 'backup-retention'),
    authToken: values.get('auth-token'),
    authTokenTtlSeconds: numberOf(values, 'auth-token-ttl'),
    bcryptCost: numberOf(values, 'bcrypt-cost'),
    logLevel: choiceOf(values, 'log-level', logLevels) ?? 'info',
    logFormat: choiceOf(values, 'log-format', logFormats),
    logOutputs: listOf(values, 'log-outputs'),
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as ClusterOptions;
}

/** What an even number of members costs; undefined for an odd one. */
export function evenSizeWarning(members: number): string | undefined {
  if (members % 2 === 1) return undefined;
  const quorum = members / 2 + 1;
  const failures = members - quorum;
  return (
    `${members} members need ${quorum} for a quorum and survive ${failures} failure${failures === 1 ? '' : 's'}, ` +
    `no more than ${members - 1} members do; use ${members - 1} or ${members + 1}`
  );
}

export function booleanOf(values: FlagValues, name: string): boolean {
  const text = values.get(name) ?? 'false';
  if (['true', '1', 't', 'T', 'TRUE', 'True'].includes(text)) return true;
  if (['false', '0', 'f', 'F', 'FALSE', 'False'].includes(text)) return false;
  throw new StartError(`--${name} is true or false, not ${text}`);
}

function optionalBooleanOf(values: FlagValues, name: string): boolean | undefined {
  return values.has(name) ? booleanOf(values, name) : undefined;
}

function numberOf(values: FlagValues, name: string): number | undefined {
  const text = values.get(name);
  if (text === undefined) return undefined;
  if (!/^-?\d+$/.test(text)) throw new StartError(`--${name} is a whole number, not ${text}`);
  return Number(text);
}

function choiceOf<Choice extends string>(values: FlagValues, name: string, choices: readonly Choice[]) {
  const text = values.get(name);
  if (text === undefined) return undefined;
  const choice = choices.find(other => other === text);
  if (choice === undefined) throw new StartError(`--${name} ${text} is not one of ${choices.join(', ')}`);
  return choice;
}

/** Milliseconds of a duration in Go's syntax: `100ms`, `1m30s`; a plain 0 is no time. */
function durationOf(values: FlagValues, name: string): number | undefined {
  const text = values.get(name);
  if (text === undefined) return undefined;
  const durationMs = parseDurationMs(text);
  if (durationMs === undefined) {
    throw new StartError(`--${name} is a duration like 500ms, 10s or 1m30s, not ${text}`);
  }
  return durationMs;
}

/** TLS of the client endpoints; undefined when no flag speaks of it. */
function tlsOf(values: FlagValues): ClusterTlsOptions | undefined {
  const options: Record<string, unknown> = {
    certFile: values.get('cert-file'),
    keyFile: values.get('key-file'),
    clientCertAuth: optionalBooleanOf(values, 'client-cert-auth'),
    trustedCaFile: values.get('trusted-ca-file') || undefined,
    clientCrlFile: values.get('client-crl-file') || undefined,
    clientCertAllowedHostname: listOf(values, 'client-cert-allowed-hostname'),
    selfSignedCertValidity: numberOf(values, 'self-signed-cert-validity'),
    cipherSuites: listOf(values, 'cipher-suites'),
    tlsMinVersion: values.get('tls-min-version'),
    tlsMaxVersion: values.get('tls-max-version'),
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const autoTls = booleanOf(values, 'auto-tls');
  return autoTls || given.length > 0 ? { ...Object.fromEntries(given), autoTls } : undefined;
}

/** etcd's feature gates that mean something here; the others are known by name and ignored. */
const gateNames = [
  'LeaseCheckpoint',
  'LeaseCheckpointPersist',
  'StopGRPCServiceOnDefrag',
  'InitialCorruptCheck',
  'CompactHashCheck',
  'TxnModeWriteWithSharedBuffer',
  'SetMemberLocalAddr',
  'AllAlpha',
  'AllBeta',
];

/** Whether `--feature-gates` opens one of the gates asked for, all of them alpha; undefined when it says nothing. */
function gateOf(values: FlagValues, gate: string): boolean | undefined {
  let open: boolean | undefined;
  let all: boolean | undefined;
  for (const item of (values.get('feature-gates') ?? '').split(',').filter(part => part !== '')) {
    const [name = '', value = ''] = item.split('=');
    if (!gateNames.includes(name)) throw new StartError(`--feature-gates: unrecognized feature gate: ${name}`);
    if (value !== 'true' && value !== 'false') {
      throw new StartError(`--feature-gates: ${name} is true or false, not ${value || 'empty'}`);
    }
    if (name === gate) open = value === 'true';
    if (name === 'AllAlpha') all = value === 'true';
  }
  return open ?? all;
}

/** The items between commas, without blanks around them. */
function listOf(values: FlagValues, name: string): string[] | undefined {
  const items = values.get(name)?.split(',');
  return items?.map(item => item.trim()).filter(item => item !== '');
}

function suggestion(name: string): string {
  const near = flags.find(flag => flag.name.startsWith(name) || flag.name.includes(name) || name.includes(flag.name));
  return near === undefined ? '' : ` (did you mean --${near.name}?)`;
}
