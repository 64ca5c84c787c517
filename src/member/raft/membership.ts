/**
 * Configuration changes inside a running member: which may be proposed, what applying one does, leaving a joint one.
 *
 * At most one change is unapplied at a time (I11): a leader accepts a change only when everything up to
 * pendingConfIndex is applied, the first entry of its own term included (I12). The configuration it checks against is
 * then the one the change will be applied to, so it can refuse what would not be applicable; applying can then fail on
 * no member. A refused change stays in the log as an empty entry, in its place, as in etcd: its proposer waits in vain
 * and times out.
 */
import { assert } from '../../base/assert.js';
import { applyChange } from './conf-change.js';
import { decodeConfChange } from './conf-change-codec.js';
import { NO_DATA, type RaftCore } from './core.js';
import { confirmReads } from './reads.js';
import { appendAsLeader, maybeCommit } from './replication.js';
import { abortTransfer, handOverIfNotVoter } from './transfer.js';
import { type ConfChange, type ConfState, EntryType, NO_MEMBER, type Proposal, Role } from './types.js';

/** Appends proposals to the leader's log, conf changes among them only where allowed. False: dropped. */
export function proposeAsLeader(core: RaftCore, proposals: readonly Proposal[]): boolean {
  const isMember = core.tracker.get(core.id) !== undefined;
  if (!isMember || core.leadTransferee !== NO_MEMBER) return false;
  let confChanges = false;
  for (let i = 0; i < proposals.length; i++) if (proposals[i]!.type !== EntryType.Normal) confChanges = true;
  if (!confChanges) return appendAsLeader(core, proposals);
  const first = core.log.lastIndex() + 1;
  let pendingConfIndex = core.pendingConfIndex;
  const admitted = proposals.map((proposal, i) => {
    if (proposal.type === EntryType.Normal) return proposal;
    if (!isAdmissible(core, proposal, pendingConfIndex)) return EMPTY_PROPOSAL;
    pendingConfIndex = first + i;
    return proposal;
  });
  if (!appendAsLeader(core, admitted)) return false;
  core.pendingConfIndex = pendingConfIndex;
  return true;
}

/** Puts an applied change in force; answers with the configuration that holds from now on. */
export function applyConfChange(core: RaftCore, change: ConfChange): ConfState {
  const result = applyChange(core.tracker.config, change);
  assert(result.ok, 'I11: an applied conf change follows the configuration', {
    reason: result.ok ? '' : result.reason,
  });
  core.tracker.switchTo(result.config, core.log.lastIndex());
  if (core.role === Role.Leader) settleAsLeader(core);
  return result.config;
}

/** Proposes to leave a joint configuration once entering it is applied. Exactly once: pendingConfIndex moves (R29). */
export function maybeLeaveJoint(core: RaftCore): void {
  if (!core.tracker.config.autoLeave || core.role !== Role.Leader) return;
  if (core.log.applied < core.pendingConfIndex || core.leadTransferee !== NO_MEMBER) return;
  const appended = appendAsLeader(core, [{ type: EntryType.ConfChangeV2, data: NO_DATA }]);
  assert(appended, 'I21: an entry without data always fits');
  core.pendingConfIndex = core.log.lastIndex();
}

/** I13: whether a committed conf change waits to be applied; then the configuration to campaign with is not known. */
export function hasUnappliedConfChange(core: RaftCore): boolean {
  const { log } = core;
  if (log.pendingSnapshot() !== undefined) return true;
  let next = log.applied + 1;
  while (next <= log.committed) {
    const entries = log.entries(next, log.committed + 1, SCAN_BYTES_MAX);
    for (const entry of entries) if (entry.type !== EntryType.Normal) return true;
    next += entries.length;
  }
  return false;
}

const EMPTY_PROPOSAL: Proposal = { type: EntryType.Normal, data: NO_DATA };
const SCAN_BYTES_MAX = 1 << 20;

function isAdmissible(core: RaftCore, proposal: Proposal, pendingConfIndex: number): boolean {
  if (pendingConfIndex > core.log.applied) return false;
  const decoded = decodeConfChange(proposal);
  return decoded !== undefined && applyChange(core.tracker.config, decoded.change).ok;
}

/** Quorums may have become smaller, newcomers want their entries, the transferee may be gone. */
function settleAsLeader(core: RaftCore): void {
  maybeCommit(core);
  confirmReads(core);
  core.replicationDue = true;
  if (core.leadTransferee !== NO_MEMBER && !core.tracker.isVoter(core.leadTransferee)) abortTransfer(core);
  handOverIfNotVoter(core);
}
