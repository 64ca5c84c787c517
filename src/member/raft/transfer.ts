/**
 * Handing leadership over (thesis §3.10): proposals stop, the transferee catches up, and is told to campaign at once.
 *
 * A transfer that does not happen within one election timeout is given up (the transferee may have crashed), and
 * proposals are accepted again. The transferee campaigns without pre-vote and with campaignTransfer set, so that
 * leases in favour of the old leader do not stop it.
 */
import type { RaftCore } from './core.js';
import type { Progress } from './progress.js';
import { type MemberId, MessageType, NO_MEMBER } from './types.js';

/** On the leader. False when `to` cannot lead. Asking again for the same member changes nothing. */
export function startTransfer(core: RaftCore, to: MemberId): boolean {
  const progress = core.tracker.get(to);
  if (progress === undefined || progress.isLearner || to === core.id) return false;
  if (core.leadTransferee === to) return true;
  core.leadTransferee = to;
  core.electionElapsedTicks = 0;
  if (!transferWhenCaughtUp(core, progress)) {
    progress.appendDue = true;
    core.replicationDue = true;
  }
  return true;
}

/** Tells the transferee to campaign once it has the whole log. */
export function transferWhenCaughtUp(core: RaftCore, progress: Progress): boolean {
  if (progress.match !== core.log.lastIndex()) return false;
  core.outbox.put(core.draft(MessageType.TimeoutNow, progress.id));
  return true;
}

/**
 * A leader that is no voter any more (removed or demoted) hands over to the voter that has most of the log. It does not
 * simply step down: the others may need its heartbeats to learn that the change is committed, and its vote before that
 * (two members, one removed: the other cannot win an election of the old configuration alone).
 */
export function handOverIfNotVoter(core: RaftCore): void {
  if (core.leadTransferee !== NO_MEMBER || core.tracker.isVoter(core.id)) return;
  let best: Progress | undefined;
  for (const voter of core.tracker.voters) {
    if (voter.recentActive && (best === undefined || voter.match > best.match)) best = voter;
  }
  if (best !== undefined) startTransfer(core, best.id);
}

export function abortTransfer(core: RaftCore): void {
  core.leadTransferee = NO_MEMBER;
}
