/**
 * etcd's strict reconfiguration checks: a change of the membership is refused before it is proposed when it would leave
 * the cluster without a quorum, or one failure away from that for no good reason.
 *
 *                       started voters (a name is known)         connected voters (heard for `healthIntervalMs`)
 *     add a voter       quorum of one voter more                 quorum of one voter more, the new one counted as down
 *     add a learner     any                                      the same
 *     remove a voter    quorum of the rest, without it           all but one suffice for the rest
 *     promote           quorum of one voter more, it included    any: it is in sync
 *
 * Exceptions: a lone started voter may always get company; a voter that is down may always be removed, and a learner.
 * Pure: what is connected is asked of the caller.
 */
import { EtcdErrorCode } from '../../wire/errors.js';
import type { MemberId } from '../raft/types.js';
import type { MemberRecord } from './member-record.js';

/** How long a member must have been connected to count as healthy (etcd: HealthInterval). */
export const healthIntervalMs = 5_000;

/** The cluster as the member sees it that is asked to change it. */
export interface ClusterView {
  readonly self: MemberId;
  readonly members: readonly MemberRecord[];
  /** For how long a member has been connected without a break, in ms; undefined: it is not. Never asked of `self`. */
  readonly connectedForMs: (id: MemberId) => number | undefined;
}

export function checkAddition(view: ClusterView, asLearner: boolean): EtcdErrorCode | undefined {
  const voters = votersOf(view);
  if (!asLearner && !maySupportAnother(voters)) return EtcdErrorCode.MemberNotEnoughStarted;
  if (voters.length > 1 && connectedCount(view, voters) < quorum(voters.length + 1)) return EtcdErrorCode.Unhealthy;
  return undefined;
}

export function checkRemoval(view: ClusterView, id: MemberId): EtcdErrorCode | undefined {
  if (view.members.some(member => member.id === id && member.isLearner)) return undefined;
  const voters = votersOf(view);
  const rest = voters.filter(voter => voter.id !== id);
  if (startedCount(rest) < quorum(rest.length)) return EtcdErrorCode.MemberNotEnoughStarted;
  if (id !== view.self && view.connectedForMs(id) === undefined) return undefined;
  const remaining = connectedCount(view, voters) - 1;
  return remaining < 1 + Math.floor((voters.length - 1) / 2) ? EtcdErrorCode.Unhealthy : undefined;
}

/** That the learner is in sync is checked elsewhere: only the leader knows. */
export function checkPromotion(view: ClusterView): EtcdErrorCode | undefined {
  const voters = votersOf(view);
  return startedCount(voters) + 1 < quorum(voters.length + 1) ? EtcdErrorCode.MemberNotEnoughStarted : undefined;
}

function maySupportAnother(voters: readonly MemberRecord[]): boolean {
  const started = startedCount(voters);
  return (started === 1 && voters.length === 1) || started >= quorum(voters.length + 1);
}

function votersOf({ members }: ClusterView): MemberRecord[] {
  return members.filter(member => !member.isLearner);
}

function startedCount(members: readonly MemberRecord[]): number {
  return members.filter(member => member.name !== '').length;
}

function connectedCount({ self, connectedForMs }: ClusterView, voters: readonly MemberRecord[]): number {
  return voters.filter(({ id }) => id === self || (connectedForMs(id) ?? -1) >= healthIntervalMs).length;
}

function quorum(voters: number): number {
  return Math.floor(voters / 2) + 1;
}
