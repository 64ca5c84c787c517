/**
 * Messages on their way out, in two boxes that make the durability rule a data structure:
 *
 *     sendNow           says nothing about this member's disk: appends and heartbeats of a leader, forwarded requests
 *     sendAfterPersist  is a promise about term, vote or log, and leaves once those are on disk (I9, I10)
 *
 * Successive acceptances of appends to one leader are merged: the last one says what the earlier ones said.
 */
import { assert } from '../../base/assert.js';
import { NO_ENTRIES } from './raft-log.js';
import { type MemberId, type Message, MessageType, NO_MEMBER } from './types.js';

/** A message while it is being filled in. All start from draft(), so all have one shape. */
export type Draft = { -readonly [Field in keyof Message]: Message[Field] };

export function draftMessage(type: MessageType, from: MemberId, to: MemberId, term: number): Draft {
  return {
    type,
    to,
    from,
    term,
    logTerm: 0,
    index: 0,
    entries: NO_ENTRIES,
    commit: 0,
    reject: false,
    rejectHint: 0,
    context: 0,
    campaignTransfer: false,
    snapshot: undefined,
  };
}

export class Outbox {
  #now: Message[] = [];
  #afterPersist: Message[] = [];

  get isEmpty(): boolean {
    return this.#now.length === 0 && this.#afterPersist.length === 0;
  }

  put(message: Message): void {
    assert(message.to !== NO_MEMBER && message.to !== message.from, 'I20: a message goes to another member', {
      type: message.type,
      to: message.to,
    });
    const termless = message.type === MessageType.Prop || message.type === MessageType.ReadIndex;
    assert(termless === (message.term === 0), 'I20: all messages have a term but forwarded requests', {
      type: message.type,
      term: message.term,
    });
    if (!isPromise(message.type)) this.#now.push(message);
    else if (!this.#mergeAcceptance(message)) this.#afterPersist.push(message);
  }

  takeNow(): readonly Message[] {
    if (this.#now.length === 0) return NO_MESSAGES;
    const messages = this.#now;
    this.#now = [];
    return messages;
  }

  takeAfterPersist(): readonly Message[] {
    if (this.#afterPersist.length === 0) return NO_MESSAGES;
    const messages = this.#afterPersist;
    this.#afterPersist = [];
    return messages;
  }

  /** The term changed: what was accepted of an older leader may be overwritten before it reaches the disk (I10). */
  dropAppendAnswers(): void {
    if (this.#afterPersist.length === 0) return;
    this.#afterPersist = this.#afterPersist.filter(message => message.type !== MessageType.AppResp);
  }

  #mergeAcceptance(message: Message): boolean {
    const last = this.#afterPersist[this.#afterPersist.length - 1];
    if (last === undefined || !isAcceptance(message) || !isAcceptance(last)) return false;
    if (last.to !== message.to || last.term !== message.term || last.index > message.index) return false;
    this.#afterPersist[this.#afterPersist.length - 1] = message;
    return true;
  }
}

const NO_MESSAGES: readonly Message[] = [];

function isPromise(type: MessageType): boolean {
  switch (type) {
    case MessageType.AppResp:
    case MessageType.Vote:
    case MessageType.VoteResp:
    case MessageType.PreVote:
    case MessageType.PreVoteResp:
      return true;
    default:
      return false;
  }
}

function isAcceptance(message: Message): boolean {
  return message.type === MessageType.AppResp && !message.reject;
}
