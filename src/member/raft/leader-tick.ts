/**
 * The passing of time on a leader: heartbeats, and once per election timeout the two questions whether a quorum still
 * answers (CheckQuorum, I22) and whether a transfer has failed.
 */
import type { RaftCore } from './core.js';
import { abortTransfer, handOverIfNotVoter } from './transfer.js';
import { NO_MEMBER } from './types.js';

export function tickLeader(core: RaftCore): void {
  core.electionElapsedTicks++;
  core.heartbeatElapsedTicks++;
  if (core.electionElapsedTicks >= core.options.electionTicks) {
    core.electionElapsedTicks = 0;
    if (core.options.checkQuorum && !checkQuorum(core)) {
      core.becomeFollower(core.term, NO_MEMBER);
      return;
    }
    abortTransfer(core);
  }
  if (core.heartbeatElapsedTicks >= core.options.heartbeatTicks) {
    core.heartbeatElapsedTicks = 0;
    core.heartbeatDue = true;
    handOverIfNotVoter(core);
  }
}

/** Whether a quorum answered within the last election timeout; starts the next count. */
function checkQuorum(core: RaftCore): boolean {
  const self = core.tracker.get(core.id);
  if (self !== undefined) self.recentActive = true;
  const active = core.tracker.isQuorumActive();
  for (const progress of core.tracker.members) if (progress.id !== core.id) progress.recentActive = false;
  return active;
}
