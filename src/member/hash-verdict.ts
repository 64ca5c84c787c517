/**
 * What hashes of the same history say about the members that made them: who agrees, who differs, of whom nothing is
 * known. A member that was not heard, or has compacted elsewhere meanwhile, is never taken for a healthy one.
 */
import { decode } from '../wire/schema.js';
import type { MemberId } from './raft/types.js';

/** A HashKV of one member: what was hashed, and how far the member was. */
export interface HashAnswer {
  readonly hash: number;
  readonly revision: number;
  readonly compactRevision: number;
  /** The member's newest revision when it answered. */
  readonly currentRevision: number;
}

export interface Evidence {
  readonly self: MemberId;
  readonly own: HashAnswer;
  /** Each other member's hash at `own.revision`; undefined when it could not be had. */
  readonly others: ReadonlyMap<MemberId, HashAnswer | undefined>;
  /**
   * The leader's own again, behind a confirmation that came after all others: nobody can have been further than it.
   * Undefined where the member that asks need not be the furthest.
   */
  readonly confirmed: HashAnswer | undefined;
}

export interface Verdict {
  readonly different: readonly MemberId[];
  readonly unknown: readonly MemberId[];
  /** Others that agree with this member. */
  readonly agreeing: readonly MemberId[];
}

/**
 * With a majority of all members agreeing on one hash, whoever has another one differs; without one it is whoever
 * differs from this member, as etcd has it.
 */
export function judgeHashes({ self, own, others, confirmed }: Evidence): Verdict {
  const different = new Set<MemberId>();
  const unknown: MemberId[] = [];
  const comparable = new Map<MemberId, number>([[self, own.hash]]);
  const unstable =
    confirmed !== undefined &&
    confirmed.hash !== own.hash &&
    confirmed.revision === own.revision &&
    confirmed.compactRevision === own.compactRevision;
  for (const [id, answer] of others) {
    if (answer === undefined) unknown.push(id);
    else if (confirmed !== undefined && isAhead(answer, confirmed)) different.add(id);
    else if (answer.compactRevision === own.compactRevision) comparable.set(id, answer.hash);
    else unknown.push(id);
  }
  const right = majorityHash([...comparable.values()], others.size + 1) ?? own.hash;
  for (const [id, hash] of comparable) if (hash !== right) different.add(id);
  if (unstable) different.add(self);
  const agreeing = [...comparable.keys()].filter(id => id !== self && comparable.get(id) === own.hash);
  return { different: [...different], unknown, agreeing };
}

/** Whether a majority of all members agrees on one hash: otherwise nobody knows who of them is right. */
export function isDecided({ different, agreeing }: Verdict, self: MemberId, members: number): boolean {
  return different.includes(self) || agreeing.length + 1 > members / 2;
}

/** A member's HashKVResponse. */
export function answerOf(response: Uint8Array): HashAnswer {
  const { header, hash, compact_revision, hash_revision } = decode('etcdserverpb.HashKVResponse', response);
  return {
    hash,
    revision: Number(hash_revision),
    compactRevision: Number(compact_revision),
    currentRevision: Number(header?.revision ?? 0n),
  };
}

function isAhead(answer: HashAnswer, confirmed: HashAnswer): boolean {
  return answer.currentRevision > confirmed.currentRevision || answer.compactRevision > confirmed.compactRevision;
}

function majorityHash(hashes: readonly number[], members: number): number | undefined {
  return hashes.find(hash => hashes.filter(other => other === hash).length > members / 2);
}
