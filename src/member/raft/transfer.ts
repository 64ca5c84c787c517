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

export function abortTransfer(core: RaftCore): void {
  core.leadTransferee = NO_MEMBER;
}
