/**
 * One member around the real Raft core: a log in memory, a state machine that hashes what it applies, and the loop of
 * types.ts, which can be made to crash at every step of it.
 *
 * The state is written behind the log, as the real one is: a restart begins at the last saved state and replays.
 */
import { assert } from '../../../../src/base/assert.js';
import { decodeConfChange } from '../../../../src/member/raft/conf-change-codec.js';
import { Raft } from '../../../../src/member/raft/raft.js';
import {
  type ConfChange,
  type ConfState,
  type Entry,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
  type RaftOptions,
  type ReadState,
  type Ready,
  type SnapshotMetadata,
} from '../../../../src/member/raft/types.js';
import { MemoryLog } from './memory-log.js';

/** Everything a state machine is: how far it has applied, a hash of all it applied, and the configuration there. */
export interface MachineState {
  readonly index: number;
  readonly digest: number;
  readonly confState: ConfState;
}

/** A message with what travels beside it: a snapshot's state. */
export interface Envelope {
  readonly message: Message;
  readonly state: MachineState | undefined;
}

/** Where in the loop a crash strikes: nothing after that point happens. */
export const CrashPoint = {
  BeforePersist: 0,
  AfterInstall: 1,
  AfterPersist: 2,
  BeforeApply: 3,
  BeforeAdvance: 4,
} as const;
export type CrashPoint = (typeof CrashPoint)[keyof typeof CrashPoint];

export interface MemberEvents {
  send(envelope: Envelope): void;
  ready?(ready: Ready): void;
  applied?(entry: Entry, state: MachineState): void;
  configured?(confState: ConfState, change: ConfChange): void;
  installed?(snapshot: SnapshotMetadata, state: MachineState): void;
  read?(read: ReadState): void;
}

export type MemberSettings = Omit<RaftOptions, 'id' | 'storage' | 'appliedIndex' | 'confState'>;

export class TestMember {
  readonly id: MemberId;
  readonly log = new MemoryLog();
  raft: Raft;
  state: MachineState;
  readonly #settings: MemberSettings;
  readonly #events: MemberEvents;
  /** What a restart finds. */
  #savedState: MachineState;
  /** The state that belongs to the log's snapshot. */
  #snapshotState: MachineState;
  readonly #receivedStates = new Map<number, MachineState>();

  constructor(
    id: MemberId,
    settings: MemberSettings,
    events: MemberEvents,
    state: MachineState,
    prepare: (log: MemoryLog) => void,
  ) {
    this.id = id;
    this.#settings = settings;
    this.#events = events;
    this.state = state;
    this.#savedState = state;
    this.#snapshotState = state;
    prepare(this.log);
    this.raft = this.#boot();
  }

  receive(envelope: Envelope): void {
    if (envelope.state !== undefined) this.#receivedStates.set(envelope.state.index, envelope.state);
    this.raft.step(envelope.message);
  }

  /** One round of the loop. False: the member crashed at `crashPoint`. */
  processReady(crashPoint?: CrashPoint): boolean {
    const ready = this.raft.ready();
    this.#events.ready?.(ready);
    this.#send(ready.sendNow);
    if (crashPoint === CrashPoint.BeforePersist) return false;
    if (ready.snapshot !== undefined) this.#install(ready.snapshot);
    if (crashPoint === CrashPoint.AfterInstall) return false;
    this.log.append(ready.entries, ready.hardState, ready.mustSync);
    if (crashPoint === CrashPoint.AfterPersist) return false;
    this.#send(ready.sendAfterPersist);
    if (crashPoint === CrashPoint.BeforeApply) return false;
    for (const entry of ready.committedEntries) this.#apply(entry);
    for (const read of ready.readStates) this.#events.read?.(read);
    if (crashPoint === CrashPoint.BeforeAdvance) return false;
    this.raft.advance(ready);
    return true;
  }

  /** The state reaches the disk, as it is now. */
  saveState(): void {
    this.#savedState = this.state;
  }

  /** Snapshots the state and drops the log up to `index` or as far as it is applied. */
  compact(index: number): void {
    assert(index <= this.state.index, 'compacts what is applied', { index, applied: this.state.index });
    this.saveState();
    this.#snapshotState = this.state;
    // The snapshot is the state as of now; the log keeps what is behind `index`.
    this.log.compact(index, this.state.confState);
  }

  /** Loses what a crash loses and boots from the rest. */
  restart(): void {
    this.log.loseUnsynced();
    this.state = this.#savedState;
    this.#receivedStates.clear();
    this.raft = this.#boot();
  }

  #boot(): Raft {
    return new Raft({
      ...this.#settings,
      id: this.id,
      storage: this.log,
      appliedIndex: this.state.index,
      confState: this.state.confState,
    });
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.type !== MessageType.Snap) this.#events.send({ message, state: undefined });
      else this.#events.send(this.#withState(message));
    }
  }

  /** The state sent may be newer than the snapshot raft asked for: then the message says so. */
  #withState(message: Message): Envelope {
    const state = this.#snapshotState;
    const { confState, index } = state;
    const term = this.log.term(index);
    assert(term !== undefined && message.snapshot !== undefined, 'the snapshot joins the log', { index });
    assert(index >= message.snapshot.index, 'the state is not older than promised', { index });
    return { message: { ...message, snapshot: { index, term, confState } }, state };
  }

  #install(snapshot: SnapshotMetadata): void {
    const state = this.#receivedStates.get(snapshot.index);
    assert(state !== undefined, 'the state of a snapshot came with it');
    this.#receivedStates.clear();
    this.log.installSnapshot(snapshot);
    this.state = state;
    this.#savedState = state;
    this.#snapshotState = state;
    this.#events.installed?.(snapshot, state);
  }

  #apply(entry: Entry): void {
    assert(entry.index === this.state.index + 1, 'entries are applied in order', { index: entry.index });
    let { confState } = this.state;
    if (entry.type !== EntryType.Normal) {
      const decoded = decodeConfChange(entry);
      assert(decoded !== undefined, 'a conf change in the log parses');
      confState = this.raft.applyConfChange(decoded.change);
      this.log.setConfState(confState);
      this.#events.configured?.(confState, decoded.change);
    }
    this.state = { index: entry.index, digest: digest(this.state.digest, entry), confState };
    this.#events.applied?.(entry, this.state);
  }
}

/** A hash chain over everything applied: equal digests at an index mean equal histories (I3, I5). */
export function digest(previous: number, entry: Entry): number {
  let hash = Math.imul(previous ^ entry.index, 0x01000193) ^ Math.imul(entry.term, 0x9e3779b1) ^ entry.type;
  for (const byte of entry.data) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
