/**
 * The core's values as short lines of text: for transcripts, which compare them.
 *
 *     1->2 App term=2 prev=4/1 commit=4 entries=[5/2 'x']          index/term everywhere
 */

import { isJoint, isLeave } from '../../../../src/member/raft/conf-change.js';
import { decodeConfChange } from '../../../../src/member/raft/conf-change-codec.js';
import { ProgressState } from '../../../../src/member/raft/progress.js';
import type { ProgressStatus, RaftStatus } from '../../../../src/member/raft/status.js';
import {
  type ConfChange,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
  type Entry,
  EntryType,
  type HardState,
  type MemberId,
  type Message,
  MessageType,
  NO_MEMBER,
  type Ready,
  Role,
  type SnapshotMetadata,
} from '../../../../src/member/raft/types.js';

export function describeMember(id: MemberId): string {
  return id === NO_MEMBER ? 'none' : id.toString(16);
}

export function describeRole(role: Role): string {
  return nameOf(Role, role);
}

export function describeMessage(message: Message): string {
  const parts = [`${describeMember(message.from)}->${describeMember(message.to)} ${nameOf(MessageType, message.type)}`];
  if (message.term !== 0) parts.push(`term=${message.term}`);
  parts.push(...messageDetails(message));
  if (message.entries.length > 0) parts.push(`entries=[${message.entries.map(describeEntry).join(', ')}]`);
  if (message.snapshot !== undefined) parts.push(describeSnapshot(message.snapshot));
  return parts.join(' ');
}

export function describeEntry(entry: Entry): string {
  const place = entry.index === 0 ? '' : `${entry.index}/${entry.term} `;
  return place + describeData(entry);
}

export function describeSnapshot(snapshot: SnapshotMetadata): string {
  return `snapshot=${snapshot.index}/${snapshot.term} ${describeConfState(snapshot.confState)}`;
}

export function describeHardState(hardState: HardState): string {
  return `term=${hardState.term} vote=${describeMember(hardState.vote)} commit=${hardState.commit}`;
}

export function describeConfState(config: ConfState): string {
  const parts = [`voters=${ids(config.voters)}`];
  if (isJoint(config)) parts.push(`outgoing=${ids(config.votersOutgoing)}`);
  if (config.learners.length > 0) parts.push(`learners=${ids(config.learners)}`);
  if (config.learnersNext.length > 0) parts.push(`learners-next=${ids(config.learnersNext)}`);
  if (config.autoLeave) parts.push('auto-leave');
  return parts.join(' ');
}

export function describeConfChange(change: ConfChange): string {
  if (isLeave(change)) return 'leave joint';
  const changes = change.changes.map(({ type, nodeId }) => `${nameOf(ConfChangeType, type)} ${describeMember(nodeId)}`);
  const transition =
    change.transition === ConfChangeTransition.Auto ? '' : `${nameOf(ConfChangeTransition, change.transition)}: `;
  return transition + changes.join(', ');
}

/** A Ready as lines, in the order in which the member works through it. */
export function describeReady(ready: Ready): string[] {
  const lines: string[] = [];
  if (ready.softState !== undefined) {
    lines.push(`${describeRole(ready.softState.role)}, leader ${describeMember(ready.softState.leader)}`);
  }
  if (ready.sendNow.length > 0)
    lines.push('send now:', ...ready.sendNow.map(message => `  ${describeMessage(message)}`));
  if (ready.snapshot !== undefined) lines.push(`install: ${describeSnapshot(ready.snapshot)}`);
  if (ready.hardState !== undefined || ready.entries.length > 0) {
    lines.push(`persist${ready.mustSync ? '' : ' (no sync)'}:`);
    if (ready.hardState !== undefined) lines.push(`  ${describeHardState(ready.hardState)}`);
    lines.push(...ready.entries.map(entry => `  ${describeEntry(entry)}`));
  }
  if (ready.sendAfterPersist.length > 0) {
    lines.push('send after persist:', ...ready.sendAfterPersist.map(message => `  ${describeMessage(message)}`));
  }
  if (ready.committedEntries.length > 0) {
    lines.push('apply:', ...ready.committedEntries.map(entry => `  ${describeEntry(entry)}`));
  }
  for (const read of ready.readStates) lines.push(`read ${read.context} at index ${read.index}`);
  return lines;
}

/** One line for the member, and on a leader one for every other member. */
export function describeStatus(status: RaftStatus): string[] {
  const head =
    `${describeMember(status.id)} ${describeRole(status.role)} term=${status.term} ` +
    `vote=${describeMember(status.vote)} leader=${describeMember(status.leader)} ` +
    `applied=${status.applied} commit=${status.committed} log=[${status.firstIndex}, ${status.lastIndex}]`;
  return [head, ...status.progress.filter(({ id }) => id !== status.id).map(describeProgress)];
}

function describeProgress(progress: ProgressStatus): string {
  const parts = [`  ${describeMember(progress.id)} ${nameOf(ProgressState, progress.state)}`];
  if (progress.isLearner) parts.push('learner');
  parts.push(`match=${progress.match} next=${progress.next}`);
  if (progress.pendingSnapshot > 0) parts.push(`snapshot=${progress.pendingSnapshot}`);
  if (progress.inflightMessages > 0) parts.push(`inflight=${progress.inflightMessages}`);
  if (progress.paused) parts.push('paused');
  if (!progress.recentActive) parts.push('inactive');
  return parts.join(' ');
}

function messageDetails(message: Message): string[] {
  const { index, logTerm } = message;
  switch (message.type) {
    case MessageType.App:
      return [`prev=${index}/${logTerm} commit=${message.commit}`];
    case MessageType.AppResp:
      return message.reject ? [`rejected=${index} hint=${message.rejectHint}/${logTerm}`] : [`match=${index}`];
    case MessageType.Vote:
    case MessageType.PreVote:
      return [`last=${index}/${logTerm}`, ...(message.campaignTransfer ? ['transfer'] : [])];
    case MessageType.VoteResp:
    case MessageType.PreVoteResp:
      return [message.reject ? 'refused' : 'granted'];
    case MessageType.Heartbeat:
      return [`commit=${message.commit}`, ...context(message)];
    case MessageType.HeartbeatResp:
    case MessageType.ReadIndex:
      return context(message);
    case MessageType.ReadIndexResp:
      return [`index=${index}`, ...context(message)];
    default:
      return [];
  }
}

function context(message: Message): string[] {
  return message.context === 0 ? [] : [`context=${message.context}`];
}

function describeData(entry: Entry): string {
  if (entry.type === EntryType.Normal) return entry.data.length === 0 ? 'empty' : text(entry.data);
  const decoded = decodeConfChange(entry);
  return `(${decoded === undefined ? 'malformed conf change' : describeConfChange(decoded.change)})`;
}

/** Short printable data as it is, everything else by its size. */
function text(data: Uint8Array): string {
  const printable = data.length <= TEXT_BYTES_MAX && data.every(byte => byte >= 0x20 && byte < 0x7f);
  return printable ? `'${String.fromCharCode(...data)}'` : `${data.length} bytes`;
}

const TEXT_BYTES_MAX = 24;

function ids(list: readonly MemberId[]): string {
  return `(${list.map(describeMember).join(' ')})`;
}

function nameOf<Value>(names: Readonly<Record<string, Value>>, value: Value): string {
  return Object.keys(names).find(name => names[name] === value) ?? String(value);
}
