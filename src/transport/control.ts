/**
 * What crosses a thread beside ring records: the boot message, the control verbs and the status cells.
 *
 * Control verbs travel over comlink and are few (start, campaign, stop, pause); requests never do.
 */
import { Cells } from './cells.js';
import type { DoorbellBuffer } from './doorbell.js';
import type { LinkBuffers } from './layout.js';

/** Position of each number in a member's status cells. */
export const Cell = {
  role: 0,
  term: 1,
  leaderPosition: 2,
  alarms: 3,
  publishedAttributes: 4,
  /** The cluster version as major * 1000 + minor; 0 until it is decided. */
  clusterVersion: 12,
  /** 1: calls need a user. */
  authEnabled: 15,
  count: 16,
} as const;

/** Values of Cell.role. */
export const Role = { follower: 0, preCandidate: 1, candidate: 2, leader: 3 } as const;

/** Bits of Cell.alarms, one per alarm type of etcdserverpb.AlarmType (1 = NOSPACE, 2 = CORRUPT). */
export function alarmBit(alarmType: number): number {
  return 1 << alarmType;
}

/** Status numbers of one member, shared between its thread (writer) and the host (reader). */
export class StatusCells extends Cells {
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(Cell.count * 8)) {
    super(buffer);
  }
}

/** One member as its own thread knows it. Ids are uint64, carried as bigint (structured clone keeps them). */
export interface MemberIdentity {
  readonly id: bigint;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
}

/** What a request or a watch response may weigh on the wire beyond --max-request-bytes (etcd: grpcOverheadBytes). */
export const grpcOverheadBytes = 512 * 1024;

/** What 0 means as --quota-backend-bytes. */
export const quotaBytesDefault = 2 * 1024 * 1024 * 1024;

/** The settings every member thread gets; names and defaults as etcd's flags (server-config). */
export interface MemberSettings {
  readonly heartbeatIntervalMs: number;
  readonly electionTimeoutMs: number;
  readonly snapshotCount: number;
  readonly snapshotCatchUpEntries: number;
  readonly maxTxnOps: number;
  readonly maxRequestBytes: number;
  /** 0 = etcd's default of 2 GiB, negative = no quota. */
  readonly quotaBackendBytes: number;
  /** How often a quiet watcher that asked for it is told how far the store is. */
  readonly watchProgressNotifyIntervalMs: number;
  /** How often the time left of long leases is replicated; 0: never (etcd's gate LeaseCheckpoint). */
  readonly leaseCheckpointIntervalMs: number;
  /** Refuse membership changes that could cost the quorum (etcd's --strict-reconfig-check). */
  readonly strictReconfigCheck: boolean;
  /** When the leader compacts by itself: how much history it keeps, in ms or revisions; 0: never. */
  readonly autoCompaction: { readonly mode: 'periodic' | 'revision'; readonly retention: number };
  /** How often the leader compares the members' hashes; 0: never. */
  readonly corruptCheckIntervalMs: number;
  /** How often the leader compares the hashes that compactions took; 0: never (etcd's gate CompactHashCheck). */
  readonly compactHashCheckIntervalMs: number;
  /** Whether health says NOT_SERVING during a defragmentation (etcd's gate StopGRPCServiceOnDefrag). */
  readonly stopGrpcServiceOnDefrag: boolean;
  /** Whether a member compares its hash with the others' before it is announced as ready. */
  readonly initialCorruptCheck: boolean;
  /** What kind of token a login gives (etcd's --auth-token); with `jwt` only the host knows it. */
  readonly authToken: 'simple' | 'jwt';
  /** How long a simple token lives after its last use (etcd's --auth-token-ttl). */
  readonly authTokenTtlSeconds: number;
  /** False only for --ephemeral: no fsync, because the directory is removed on exit. */
  readonly durable: boolean;
}

/** What a request may wait for Raft: 5 s and two election timeouts, as in etcd. */
export function requestTimeoutMs({ electionTimeoutMs }: Pick<MemberSettings, 'electionTimeoutMs'>): number {
  return 5_000 + 2 * electionTimeoutMs;
}

/** A member's way to one other member. */
export interface PeerConnection {
  readonly position: number;
  readonly id: bigint;
  readonly doorbell: DoorbellBuffer;
  readonly fromPeer: LinkBuffers;
  readonly toPeer: LinkBuffers;
}

/** Everything a member thread needs to boot. */
export interface MemberBoot {
  /** This member's number in its host: small, never given to another member while the host runs. */
  readonly position: number;
  readonly clusterId: bigint;
  readonly identity: MemberIdentity;
  /** Who founds the cluster, this member among them; empty for one that joins a running cluster: it starts empty. */
  readonly founding: readonly MemberIdentity[];
  readonly directory: string;
  /** False: this member has been founded before, so an empty directory is a lost one. */
  readonly mayFound: boolean;
  readonly settings: MemberSettings;
  /** How often this member was started in this process, from 1; stamped on every record it sends. */
  readonly incarnation: number;
  /** Unix milliseconds at start: request ids are counted from it. */
  readonly startTimeMs: number;
  readonly seed: number;
  readonly doorbell: DoorbellBuffer;
  readonly hostDoorbell: DoorbellBuffer;
  readonly cells: SharedArrayBuffer;
  /** This start's MetricCells. */
  readonly metrics: SharedArrayBuffer;
  readonly fromHost: LinkBuffers;
  readonly toHost: LinkBuffers;
  /** The other members of now; later ones come by `connect`. */
  readonly peers: readonly PeerConnection[];
}

/** What a member says of itself once its store is open. */
export interface MemberReport {
  readonly lastTerm: number;
  readonly lastIndex: number;
  /** True when this start founded the member's log. */
  readonly founded: boolean;
  /** Whether it may be elected, as far as its store knows. */
  readonly isVoter: boolean;
}

/** The control verbs of a member thread. */
export interface MemberControl {
  /** Opens the store and starts the loop. Rejects with a plain Error whose message is for the operator. */
  start(boot: MemberBoot): Promise<MemberReport>;
  /** A member was added to the host: these are the rings to it. One that is connected already stays as it is. */
  connect(peer: PeerConnection): void;
  /** The member at this position was removed and its thread is gone. */
  disconnect(position: number): void;
  /** Asks this member to stand for election at once (first election of a new cluster, or after a full restart). */
  campaign(): void;
  /**
   * Commits what is buffered, closes the store and lets the thread end. With `handOver` a leader first gives its
   * leadership to the best follower, for at most one election timeout.
   */
  stop(handOver: boolean): Promise<void>;
  /** Ends the thread at the next turn edge without committing anything: the in-process kill -9. */
  crash(): void;
  /** Blocks the thread at this PauseGate, between two turns: it does nothing and hears no verb until the gate opens. */
  pause(gate: SharedArrayBuffer): void;
}
