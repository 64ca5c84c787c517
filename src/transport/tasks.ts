/**
 * What crosses to and from the threads that do long work (workers/task.ts), and the head of the stream that carries a
 * member's state to one of them.
 *
 *     member --head, frames--> host --head, frames--> task --taken, for each--> host --credit--> member
 *
 * The stream of frames is that of a state transfer between members; only what the frames do not say stands in the head.
 */
import type { MessagePort } from 'node:worker_threads';
import { utf8Decode, utf8Encode } from '../base/bytes.js';

/** The entry that a state is as of, and what the file it becomes says beside it. */
export interface StateHead {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  /** The release whose form the file has, e.g. `3.6.0`. */
  readonly storageVersion: string;
}

/** The first message of a state's stream; frames follow. */
export function encodeStateHead({ voters, learners, ...rest }: StateHead): Uint8Array {
  return utf8Encode(JSON.stringify({ ...rest, voters: voters.map(String), learners: learners.map(String) }));
}

export function decodeStateHead(bytes: Uint8Array): StateHead {
  const head = JSON.parse(utf8Decode(bytes) ?? '') as StateHead;
  return { ...head, voters: head.voters.map(BigInt), learners: head.learners.map(BigInt) };
}

/** What a task found out, or why it cannot be done: one line for whoever asked. */
export type TaskOutcome<Value> = { readonly value: Value } | { readonly problem: string };

/** A member's state becomes a snapshot file. */
export interface EncodeTask {
  readonly target: EncodeTarget;
  /**
   * The head and the frames come in (EncodeFeed), each is answered with EncodeTaken; the first answer asks for them. The
   * last answer, to a descriptor's task, is EncodedSnapshot: all is in the file but its digest, which takes a second look.
   */
  readonly port: MessagePort;
}

/**
 * Where the file goes: into an empty file that is open for reading and writing, and stays open; or under a name, where it
 * appears when it is on disk, has been read again and found whole.
 */
export type EncodeTarget = { readonly descriptor: number } | { readonly path: string };

/** The head, then frames; `end`: there are no more; `abort`: whatever there is will not be needed. */
export type EncodeFeed = Uint8Array | 'end' | 'abort';

/** Bytes that were taken. */
export type EncodeTaken = number;

export interface EncodedSnapshot {
  /** Of the file, its digest included. */
  readonly bytes: number;
  readonly records: number;
  readonly revision: number;
}

/** A snapshot file becomes the stores of a new cluster's members. */
export interface RestoreTask {
  readonly path: string;
  /** An empty directory that nobody looks at yet; the members' directories are made in it. */
  readonly directory: string;
  readonly clusterId: bigint;
  readonly members: readonly { readonly id: bigint; readonly name: string; readonly peerUrls: readonly string[] }[];
  /** Takes a file without a digest, or with a wrong one. */
  readonly skipHashCheck: boolean;
  /** How far the revisions move ahead; all before is marked as compacted. Zero: they stay. */
  readonly bumpRevision: number;
  /** Whether the stores are synced. */
  readonly durable: boolean;
  /** As in MemberSettings. */
  readonly quotaBackendBytes: number;
  /** Hears RestoreProgress now and then. */
  readonly port: MessagePort;
}

export interface RestoreProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface RestoredSnapshot {
  readonly records: number;
  readonly revision: number;
  readonly bytes: number;
}

/** A certificate and its key, in PEM. */
export interface CredentialsPem {
  readonly cert: string;
  readonly key: string;
}

/** Certificates for a server and its clients. */
export interface CertificateTask {
  /** Who signs; undefined: an authority that is made first. */
  readonly authority: CredentialsPem | undefined;
  /** Names and addresses the server's certificate is for. */
  readonly hosts: readonly string[];
  /** Ends of the validity, in milliseconds of the epoch. */
  readonly untilMs: number;
  readonly authorityUntilMs: number;
}

export interface IssuedCertificates {
  readonly authority: CredentialsPem;
  readonly server: CredentialsPem;
  readonly client: CredentialsPem;
}

/** A password becomes its bcrypt text. */
export interface HashPasswordTask {
  readonly password: string;
  /** The logarithm of the rounds, 4 to 31. */
  readonly cost: number;
  /** Others are being served: it rests for as long as it works. */
  readonly rests: boolean;
}

/** Whether a password is the one that a bcrypt text was made of. */
export interface ComparePasswordTask {
  readonly password: string;
  readonly hash: string;
  /** Others are being served: it rests for as long as it works. */
  readonly rests: boolean;
}
