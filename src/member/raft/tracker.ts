/**
 * The configuration in force, with the Progress of each of its members.
 *
 * The members are a function of the ConfState: switchTo() keeps the Progress of those who stay, makes one for those who
 * come and drops those who go. Lists ascend by id, so that the same input sends the same messages in the same order
 * (I24). Everything that needs a quorum asks here, and gets the joint answer (I14).
 */
import { checkConfState, EMPTY_CONF_STATE, normalizeConfState } from './conf-change.js';
import { Inflights } from './inflights.js';
import { Progress } from './progress.js';
import { quorumVote, reachedByQuorum, type VoteResult } from './quorum.js';
import type { ConfState, MemberId } from './types.js';

export class Tracker {
  readonly #inflightMessagesMax: number;
  readonly #inflightBytesMax: number;
  #byId = new Map<MemberId, Progress>();
  #config: ConfState = EMPTY_CONF_STATE;
  #members: readonly Progress[] = [];
  #incoming: readonly Progress[] = [];
  #outgoing: readonly Progress[] = [];
  #voters: readonly Progress[] = [];

  constructor(inflightMessagesMax: number, inflightBytesMax: number) {
    this.#inflightMessagesMax = inflightMessagesMax;
    this.#inflightBytesMax = inflightBytesMax;
  }

  get config(): ConfState {
    return this.#config;
  }

  /** Voters and learners, by id. */
  get members(): readonly Progress[] {
    return this.#members;
  }

  /** The voters of both halves, by id, each once. */
  get voters(): readonly Progress[] {
    return this.#voters;
  }

  get(id: MemberId): Progress | undefined {
    return this.#byId.get(id);
  }

  isVoter(id: MemberId): boolean {
    return this.#config.voters.includes(id) || this.#config.votersOutgoing.includes(id);
  }

  /** Puts a configuration in force. Newcomers are probed at once, from the log's end, and count as active until
   * the next CheckQuorum. */
  switchTo(confState: ConfState, lastIndex: number): void {
    const config = normalizeConfState(confState);
    checkConfState(config);
    const byId = new Map<MemberId, Progress>();
    for (const ids of [config.voters, config.votersOutgoing, config.learners]) {
      for (const id of ids) if (!byId.has(id)) byId.set(id, this.#byId.get(id) ?? this.#newcomer(id, lastIndex));
    }
    for (const progress of byId.values()) progress.isLearner = config.learners.includes(progress.id);
    this.#config = config;
    this.#byId = byId;
    this.#members = [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#incoming = config.voters.map(id => byId.get(id)!);
    this.#outgoing = config.votersOutgoing.map(id => byId.get(id)!);
    this.#voters = this.#members.filter(progress => !progress.isLearner);
  }

  /** The last index that a quorum has on disk. */
  durableIndex(): number {
    return reachedByQuorum(this.#incoming, this.#outgoing, matchOf);
  }

  /** The last read position that a quorum has echoed. */
  echoedPosition(): number {
    return reachedByQuorum(this.#incoming, this.#outgoing, readPositionOf);
  }

  /** Whether a quorum has answered since its members were last marked inactive. */
  isQuorumActive(): boolean {
    return quorumVote(this.#incoming, this.#outgoing, activityOf) === 'won';
  }

  voteResult(votes: ReadonlyMap<MemberId, boolean>): VoteResult {
    return quorumVote(this.#incoming, this.#outgoing, progress => votes.get(progress.id));
  }

  #newcomer(id: MemberId, lastIndex: number): Progress {
    const inflights = new Inflights(this.#inflightMessagesMax, this.#inflightBytesMax);
    const progress = new Progress(id, false, lastIndex + 1, inflights);
    progress.recentActive = true;
    progress.appendDue = true;
    return progress;
  }
}

function matchOf(progress: Progress): number {
  return progress.match;
}

function readPositionOf(progress: Progress): number {
  return progress.readPosition;
}

function activityOf(progress: Progress): boolean {
  return progress.recentActive;
}
