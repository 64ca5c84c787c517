/**
 * The laws that hold whenever a batch is done, checked in production after every advance(): O(members), no allocation.
 * Laws that belong to one step are asserted there; their numbers (I1-I22) are the same everywhere.
 */
import { assert } from '../../base/assert.js';
import type { RaftCore } from './core.js';
import { NO_MEMBER, Role } from './types.js';

export class Invariants {
  readonly #core: RaftCore;
  #term: number;
  #committed: number;
  #applied: number;

  constructor(core: RaftCore) {
    this.#core = core;
    this.#term = core.term;
    this.#committed = core.log.committed;
    this.#applied = core.log.applied;
  }

  check(): void {
    const { log, term } = this.#core;
    const last = log.lastIndex();
    assert(term >= this.#term && log.committed >= this.#committed && log.applied >= this.#applied, 'I8: monotone', {
      term,
      committed: log.committed,
      applied: log.applied,
    });
    assert(
      log.firstIndex() - 1 <= log.applied && log.applied <= log.committed && log.committed <= last,
      'I8: snapshot <= applied <= committed <= last',
      { first: log.firstIndex(), applied: log.applied, committed: log.committed, last },
    );
    this.#term = term;
    this.#committed = log.committed;
    this.#applied = log.applied;
    if (this.#core.role === Role.Leader) this.#checkLeader(last);
    else this.#checkNonLeader();
  }

  #checkLeader(last: number): void {
    const core = this.#core;
    assert(core.leader === core.id, 'a leader follows itself', { leader: core.leader });
    assert(core.termStartIndex > 0 && core.termStartIndex <= last, 'I7: a leader has an entry of its term');
    for (const progress of core.tracker.members) {
      const { id, match, next } = progress;
      assert(match < next && next <= last + 1, 'I18: match < next <= last + 1', { id, match, next, last });
      assert(progress.id === core.id || match <= last, 'I18: match <= last', { id, match, last });
    }
    const idle = core.log.applied === last;
    assert(!idle || core.uncommittedBytes === 0, 'I21: nothing is uncommitted when all is applied', {
      bytes: core.uncommittedBytes,
    });
  }

  #checkNonLeader(): void {
    const core = this.#core;
    assert(core.leader !== core.id, 'only a leader follows itself', { role: core.role });
    assert(core.reads.count === 0 && core.heldReads.length === 0, 'I16: reads wait at leaders only');
    assert(core.uncommittedBytes === 0 && core.leadTransferee === NO_MEMBER, 'I21: only leaders have proposals');
    assert(core.role !== Role.Candidate || core.vote === core.id, 'I9: a candidate votes for itself');
  }
}
