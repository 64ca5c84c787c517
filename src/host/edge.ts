/**
 * The edge: what one client may take of the process, and who may come at all.
 *
 *     --max-concurrent-streams, --grpc-keepalive-*  --.
 *     open files the process may have, endpoints    --+--> limits of each endpoint's connections
 *     an address beyond loopback without TLS        -----> a warning
 *
 * Limits that no flag of etcd names have their defaults in http2/limits.ts.
 */
import { readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import { StartError } from './data-directory.js';
import { type Http2Limits, http2LimitsDefault } from './http2/limits.js';

/** The options of the edge, as etcd names them; durations in milliseconds. */
export interface EdgeOptions {
  /** etcd's --max-concurrent-streams: calls one connection may have at a time; default 4294967295, 0 the same. */
  readonly maxConcurrentStreams?: number;
  /**
   * etcd's --grpc-keepalive-min-time: a client that pings more often is told too_many_pings and disconnected; default
   * 5000. 0 is gRPC's own default, 5 minutes, as in etcd.
   */
  readonly grpcKeepaliveMinTimeMs?: number;
  /** etcd's --grpc-keepalive-interval: a connection silent for so long is pinged; default 2 hours, 0 never. */
  readonly grpcKeepaliveIntervalMs?: number;
  /** etcd's --grpc-keepalive-timeout: how long such a ping may stay unanswered; default 20000, 0 the same. */
  readonly grpcKeepaliveTimeoutMs?: number;
}

const uint32Max = 4_294_967_295;
const keepaliveMinTimeMsDefault = 5_000;
/** What grpc-go takes where etcd hands on nothing. */
const grpcMinTimeMs = 5 * 60_000;
/** etcd's reserve. */
const reservedFilesMin = 150;
/** Of the process: event loops, tasks, logs, and whoever embeds the library. */
const processFiles = 60;
/** Of a member: 17 for its thread, log and state; the rest for states, log files and snapshots that are being made. */
const memberFiles = 30;

/** The limits of each of `listeners` listeners, which belong to `members` members; throws StartError. */
export function edgeLimits(options: EdgeOptions, members: number, listeners: number): Partial<Http2Limits> {
  const { maxConcurrentStreams = uint32Max, grpcKeepaliveMinTimeMs = keepaliveMinTimeMsDefault } = options;
  const { keepaliveIntervalMs, keepaliveTimeoutMs, connectionsMax } = http2LimitsDefault;
  if (!Number.isInteger(maxConcurrentStreams) || maxConcurrentStreams < 0 || maxConcurrentStreams > uint32Max) {
    throw new StartError(
      `--max-concurrent-streams must be a whole number from 0 to ${uint32Max}, not ${maxConcurrentStreams}`,
    );
  }
  for (const [flag, durationMs] of [
    ['--grpc-keepalive-min-time', options.grpcKeepaliveMinTimeMs],
    ['--grpc-keepalive-interval', options.grpcKeepaliveIntervalMs],
    ['--grpc-keepalive-timeout', options.grpcKeepaliveTimeoutMs],
  ] as const) {
    if (durationMs !== undefined && !(durationMs >= 0 && Number.isFinite(durationMs))) {
      throw new StartError(`${flag} is a duration like 5s, not ${durationMs}ms`);
    }
  }
  return {
    concurrentStreamsMax: maxConcurrentStreams || uint32Max,
    pingIntervalMsMin: grpcKeepaliveMinTimeMs || grpcMinTimeMs,
    keepaliveIntervalMs: options.grpcKeepaliveIntervalMs ?? keepaliveIntervalMs,
    keepaliveTimeoutMs: options.grpcKeepaliveTimeoutMs || keepaliveTimeoutMs,
    connectionsMax: Math.min(connectionsMax, connectionsOf(openFilesMax(), members, listeners)),
  };
}

/**
 * Connections of each listener when the process may have so many files open: what the members may need is left to them,
 * or a flood of clients would take the files they write. Throws StartError when there is nothing left, where etcd ends too.
 */
export function connectionsOf(filesMax: number, members: number, listeners: number): number {
  const reserved = Math.max(reservedFilesMin, processFiles + memberFiles * members);
  const connections = Math.floor((filesMax - reserved) / listeners);
  if (connections >= 1) return connections;
  throw new StartError(
    `file descriptor limit of this process is too low; please set higher: it is ${filesMax} (ulimit -n), and the ` +
      `members need ${reserved} of them beside clients`,
  );
}

/** How many files this process may have open; without a number where the system does not say. */
function openFilesMax(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether only this machine reaches an IP address. */
export function isLoopback(address: string): boolean {
  return loopback.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}

/** What is to be said about endpoints that are open to others without TLS; undefined: there are none. */
export function exposureWarning(urls: readonly string[]): string | undefined {
  if (urls.length === 0) return undefined;
  return (
    `serving client traffic insecurely; this is strongly discouraged! Whoever reaches ${urls.join(', ')} can read and ` +
    'change everything: listen on 127.0.0.1, or use https URLs with certificates'
  );
}
