/**
 * What must hold across all members at all times, whatever is lost, late or crashed. It sees everything, and knows one
 * truth: the canonical history, made of what any member applied first.
 */
import assert from 'node:assert/strict';
import { quorumVote } from '../../../../src/member/raft/quorum.js';
import { type Entry, type MemberId, type Message, MessageType, Role } from '../../../../src/member/raft/types.js';
import type { MachineState, TestMember } from './test-member.js';

interface Canonical {
  readonly digest: number;
  /** The entry was committed in this term or an earlier one. */
  readonly committedInTermMax: number;
}

export class Checker {
  readonly #history: Canonical[] = [];
  readonly #leaders = new Map<number, MemberId>();
  readonly #votes = new Map<string, MemberId>();
  readonly #reads = new Map<number, number>();
  readonly #members: ReadonlyMap<MemberId, TestMember>;
  /** The highest commit index that any member ever knew. */
  committed = 0;
  readsAnswered = 0;

  constructor(members: ReadonlyMap<MemberId, TestMember>, bootstrapped: MachineState) {
    this.#members = members;
    for (let i = 0; i < bootstrapped.index; i++) this.#history.push({ digest: 0, committedInTermMax: 1 });
    this.committed = bootstrapped.index;
  }

  get applied(): number {
    return this.#history.length;
  }

  /** After anything a member did. */
  afterStep(member: TestMember): void {
    const { raft } = member;
    if (raft.committedIndex > this.committed) {
      this.committed = raft.committedIndex;
      if (raft.role === Role.Leader) this.#checkQuorumDurability(member);
    }
    if (raft.role !== Role.Leader) return;
    const known = this.#leaders.get(raft.term);
    if (known === undefined) {
      this.#leaders.set(raft.term, raft.id);
      this.#checkLeaderCompleteness(member);
    } else {
      assert.equal(raft.id, known, `I1: two leaders in term ${raft.term}`);
    }
  }

  entryApplied(member: TestMember, entry: Entry, state: MachineState): void {
    const known = this.#history[entry.index - 1];
    if (known === undefined) {
      assert.equal(entry.index, this.#history.length + 1, 'applied without a gap');
      this.#history.push({ digest: state.digest, committedInTermMax: member.raft.term });
    } else if (known.digest !== 0) {
      assert.equal(state.digest, known.digest, `I5: ${member.id} applied something else at ${entry.index}`);
    }
  }

  installed(member: TestMember, state: MachineState): void {
    assert.ok(state.index <= this.#history.length, 'a snapshot of what nobody applied');
    const known = this.#history[state.index - 1];
    if (known !== undefined && known.digest !== 0) {
      assert.equal(state.digest, known.digest, `I5: ${member.id} installed another state at ${state.index}`);
    }
  }

  sent(message: Message): void {
    if (message.type === MessageType.VoteResp && !message.reject) this.#voted(message.from, message.term, message.to);
    if (message.type === MessageType.Vote) this.#voted(message.from, message.term, message.from);
  }

  readAsked(context: number): void {
    this.#reads.set(context, this.committed);
  }

  readConfirmed(index: number, context: number): void {
    const atLeast = this.#reads.get(context);
    assert.ok(atLeast !== undefined, 'an answer to a question nobody asked');
    assert.ok(index >= atLeast, `I16: read ${context} sees ${index}, but ${atLeast} was committed when it was asked`);
    this.readsAnswered++;
  }

  /** I3: where two logs agree on (index, term), they agree on everything up to there. */
  checkLogMatching(): void {
    const members = [...this.#members.values()];
    for (const a of members) for (const b of members) if (a.id < b.id) checkPair(a, b);
  }

  #voted(from: MemberId, term: number, candidate: MemberId): void {
    const key = `${from}@${term}`;
    const known = this.#votes.get(key);
    if (known === undefined) this.#votes.set(key, candidate);
    else assert.equal(candidate, known, `I9: ${from} voted twice in term ${term}`);
  }

  /** I6: what a leader has just committed is durable on a quorum. */
  #checkQuorumDurability({ raft, log }: TestMember): void {
    const commit = raft.committedIndex;
    // An entry that the leader itself has not persisted yet is of its own term.
    const term = commit <= log.lastIndex() ? log.term(commit) : raft.term;
    const { voters, votersOutgoing } = raft.confState;
    const outcome = quorumVote(voters, votersOutgoing, id => {
      const theirs = this.#members.get(id)?.log;
      return theirs !== undefined && (theirs.firstIndex() > commit || theirs.term(commit) === term);
    });
    assert.equal(outcome, 'won', `I6: ${raft.id} commits ${commit} without a quorum that has it on disk`);
  }

  /** I4: a new leader has everything that was committed in earlier terms. */
  #checkLeaderCompleteness(member: TestMember): void {
    const { log, raft } = member;
    for (let index = this.#history.length; index >= log.firstIndex(); index--) {
      const canonical = this.#history[index - 1]!;
      if (canonical.committedInTermMax >= raft.term) continue;
      assert.ok(index <= raft.status.lastIndex, `I4: leader ${raft.id} of term ${raft.term} lacks entry ${index}`);
      return;
    }
  }
}

function checkPair(a: TestMember, b: TestMember): void {
  const first = Math.max(a.log.firstIndex(), b.log.firstIndex());
  const last = Math.min(a.log.lastIndex(), b.log.lastIndex());
  let agree = false;
  for (let index = last; index >= first; index--) {
    const [mine] = a.log.entries(index, index + 1, 1);
    const [theirs] = b.log.entries(index, index + 1, 1);
    agree ||= mine!.term === theirs!.term;
    if (!agree) continue;
    assert.equal(mine!.term, theirs!.term, `I3: ${a.id} and ${b.id} disagree at ${index}`);
    assert.deepEqual(mine!.data, theirs!.data, `I3: ${a.id} and ${b.id} have other data at ${index}`);
  }
}
