/**
 * The laws of the facade: what a Ready promises, in which order the loop may call, and what is refused as impossible.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { EMPTY_CONF_STATE } from '../../../src/member/raft/conf-change.js';
import { draftMessage } from '../../../src/member/raft/outbox.js';
import { Raft } from '../../../src/member/raft/raft.js';
import { READS_WAITING_MAX } from '../../../src/member/raft/reads.js';
import {
  type Entry,
  EntryType,
  type Message,
  MessageType,
  type RaftOptions,
  type Ready,
} from '../../../src/member/raft/types.js';
import { bootstrapEntries } from './support/bootstrap.js';
import { MemoryLog } from './support/memory-log.js';

const BROKEN_LAW = { name: 'AssertionError' };

interface Rig {
  readonly raft: Raft;
  readonly log: MemoryLog;
  /** Works through everything that is ready, and says what it was. */
  readonly drain: () => readonly Ready[];
}

/** One core of a bootstrapped cluster, everything applied, driven by hand. */
function rig(voters: readonly bigint[], options: Partial<RaftOptions> = {}, extra: readonly Entry[] = []): Rig {
  const log = new MemoryLog();
  const entries = [...bootstrapEntries(voters), ...extra];
  log.bootstrap(entries, { term: 1, vote: 0n, commit: voters.length }, { ...EMPTY_CONF_STATE, voters });
  const raft = new Raft({
    id: 1n,
    storage: log,
    electionTicks: 10,
    heartbeatTicks: 1,
    preVote: false,
    checkQuorum: false,
    messageBytesMax: 1 << 20,
    inflightMessagesMax: 64,
    uncommittedBytesMax: 1 << 20,
    appliedIndex: voters.length,
    prng: new Prng(1),
    ...options,
  });
  return { raft, log, drain: () => drain(raft, log) };
}

function drain(raft: Raft, log: MemoryLog): readonly Ready[] {
  const readies: Ready[] = [];
  while (raft.hasReady()) {
    const ready = raft.ready();
    readies.push(ready);
    if (ready.snapshot !== undefined) log.installSnapshot(ready.snapshot);
    log.append(ready.entries, ready.hardState, ready.mustSync);
    raft.advance(ready);
  }
  return readies;
}

function leader(voters: readonly bigint[], options: Partial<RaftOptions> = {}): Rig {
  const made = rig(voters, options);
  made.raft.campaign();
  made.drain();
  for (const id of voters.slice(1, Math.floor(voters.length / 2) + 1)) {
    made.raft.step(draftMessage(MessageType.VoteResp, id, 1n, 2));
  }
  made.drain();
  assert.equal(made.raft.isLeader, true);
  const index = made.raft.status.lastIndex;
  for (const from of voters.slice(1)) made.raft.step(fill(MessageType.AppResp, { from, index }));
  made.drain();
  return made;
}

function fill(type: MessageType, fields: Partial<Message>): Message {
  return { ...draftMessage(type, 2n, 1n, 2), ...fields };
}

const normal = (text: string) => ({ type: EntryType.Normal, data: Buffer.from(text) });
const entry = (index: number, term: number): Entry => ({ type: EntryType.Normal, term, index, data: Buffer.from('x') });

test('a write must be synced unless only the commit index moved (raft 0675f3d)', () => {
  const { raft, drain } = leader([1n, 2n, 3n]);
  raft.propose([normal('a')]);
  assert.deepEqual(
    drain().map(ready => ready.mustSync),
    [true],
    'entries',
  );
  raft.step(fill(MessageType.AppResp, { index: 5 }));
  const [commit] = drain();
  assert.equal(commit!.mustSync, false, 'commit');
  assert.deepEqual(commit!.hardState, { term: 2, vote: 1n, commit: 5 });
  raft.step(fill(MessageType.Heartbeat, { term: 3 }));
  const [term] = drain();
  assert.equal(term!.mustSync, true, 'term');
  assert.deepEqual(term!.hardState, { term: 3, vote: 0n, commit: 5 });
  raft.readIndex(1);
  assert.deepEqual(
    drain().map(ready => [ready.mustSync, ready.hardState]),
    [[false, undefined]],
    'messages only',
  );
});

test('a Ready is worked through before anything else happens', () => {
  const { raft, log } = leader([1n, 2n, 3n]);
  raft.propose([normal('a')]);
  assert.equal(raft.hasReady(), true);
  const ready = raft.ready();
  assert.throws(() => raft.ready(), BROKEN_LAW);
  assert.throws(() => raft.tick(), BROKEN_LAW);
  assert.throws(() => raft.step(fill(MessageType.AppResp, { index: 4 })), BROKEN_LAW);
  assert.throws(() => raft.advance({ ...ready }), BROKEN_LAW);
  log.append(ready.entries, ready.hardState, ready.mustSync);
  raft.advance(ready);
  assert.throws(() => raft.advance(ready), BROKEN_LAW);
});

test('what is proposed while applying goes into the next Ready and leaves this one as it was', () => {
  const { raft, log, drain } = leader([1n]);
  raft.propose([normal('a')]);
  assert.equal(raft.hasReady(), true);
  const ready = raft.ready();
  const entries = [...ready.entries];
  const messages = [...ready.sendNow];
  assert.equal(raft.propose([normal('b')]), 'accepted');
  assert.equal(raft.readIndex(1), 'accepted');
  assert.deepEqual(ready.entries, entries);
  assert.deepEqual(ready.sendNow, messages);
  log.append(ready.entries, ready.hardState, ready.mustSync);
  raft.advance(ready);
  assert.deepEqual(
    drain()[0]!.entries.map(({ data }) => `${Buffer.from(data)}`),
    ['b'],
  );
});

test("a leader's own log counts only when it is on disk", () => {
  const { raft, log, drain } = leader([1n, 2n, 3n]);
  raft.propose([normal('a')]);
  assert.equal(raft.hasReady(), true);
  const ready = raft.ready();
  assert.deepEqual(
    ready.sendNow.map(message => message.entries.length),
    [1, 1],
    'sent before it is on disk',
  );
  assert.equal(raft.status.progress[0]!.match, 4);
  log.append(ready.entries, ready.hardState, ready.mustSync);
  raft.advance(ready);
  assert.equal(raft.status.progress[0]!.match, 5);
  drain();
});

test('committed entries come in batches, in order, and the commit index never goes back (raft 8ecce32)', () => {
  const { raft, drain } = leader([1n], { committedBytesMax: 520 });
  raft.propose(['aa', 'bb', 'cc', 'dd', 'ee'].map(normal));
  const readies = drain();
  assert.deepEqual(
    readies.map(ready => ready.committedEntries.map(({ index }) => index)),
    [[], [3, 4], [5, 6], [7]],
  );
  const commits = readies.flatMap(ready => (ready.hardState === undefined ? [] : [ready.hardState.commit]));
  assert.deepEqual(commits, [7]);
});

test('an entry is never applied in a Ready before the one that persists it', () => {
  const { raft, drain } = rig([1n, 2n, 3n]);
  const entries = [entry(4, 2), entry(5, 2)];
  raft.step(fill(MessageType.App, { index: 3, logTerm: 1, entries, commit: 5 }));
  const [ready] = drain();
  assert.deepEqual(ready!.entries, entries);
  assert.deepEqual(ready!.committedEntries, entries);
});

test('I1: a second leader in a term is the end', () => {
  const { raft } = leader([1n, 2n, 3n]);
  for (const type of [MessageType.App, MessageType.Heartbeat, MessageType.Snap]) {
    assert.throws(() => raft.step(fill(type, {})), BROKEN_LAW);
  }
  const follower = rig([1n, 2n, 3n]).raft;
  follower.step(fill(MessageType.Heartbeat, {}));
  assert.throws(() => follower.step(fill(MessageType.Heartbeat, { from: 3n })), BROKEN_LAW);
});

test('I8: a commit index beyond the log means that the log was lost (etcd #13509)', () => {
  const { raft } = rig([1n, 2n, 3n]);
  assert.throws(() => raft.step(fill(MessageType.Heartbeat, { commit: 9 })), /corrupted, truncated or lost/);
});

test('I4: a committed entry is not overwritten, an ack of what the leader has not is impossible', () => {
  const { raft } = rig([1n, 2n, 3n]);
  const conflicting = fill(MessageType.App, { index: 2, logTerm: 1, entries: [entry(3, 2)] });
  raft.step(conflicting);
  assert.deepEqual(raft.hasReady() && raft.ready().entries, [], 'entry 3 is committed: answered, not looked at');
  const other = rig([1n, 2n, 3n], { appliedIndex: 3 });
  assert.throws(
    () => other.raft.step(fill(MessageType.App, { index: 3, logTerm: 1, entries: [entry(3, 2)] })),
    BROKEN_LAW,
  );
  assert.throws(() => leader([1n, 2n, 3n]).raft.step(fill(MessageType.AppResp, { index: 99 })), BROKEN_LAW);
});

test('I16: an echo of a position that was never made is impossible', () => {
  const { raft } = leader([1n, 2n, 3n]);
  assert.throws(() => raft.step(fill(MessageType.HeartbeatResp, { context: 1 })), BROKEN_LAW);
});

test('a start from an impossible state is refused', () => {
  const lost = /was the log lost/;
  assert.throws(() => rig([1n, 2n, 3n], { appliedIndex: 4 }), lost, 'applied beyond the log');
  const compacted = () => {
    const log = new MemoryLog();
    log.installSnapshot({ index: 10, term: 2, confState: { ...EMPTY_CONF_STATE, voters: [1n] } });
    return log;
  };
  assert.throws(() => rig([1n], { storage: compacted(), appliedIndex: 9 }), BROKEN_LAW, 'state older than the log');
  assert.throws(() => rig([1n], { id: 0n }), BROKEN_LAW);
  assert.throws(() => rig([1n], { electionTicks: 1 }), BROKEN_LAW);
});

test('a log newer than the hard state, as a crash while installing a snapshot leaves it, raises the term', () => {
  const log = new MemoryLog();
  log.installSnapshot({ index: 10, term: 4, confState: { ...EMPTY_CONF_STATE, voters: [1n, 2n, 3n] } });
  const { raft, drain } = rig([1n, 2n, 3n], { storage: log, appliedIndex: 10 });
  assert.deepEqual([raft.term, raft.committedIndex], [4, 10]);
  assert.deepEqual(
    drain().map(ready => ready.hardState),
    [{ term: 4, vote: 0n, commit: 10 }],
  );
});

test('what was accepted of an older leader is not promised once the term has moved (I10)', () => {
  const { raft, drain } = rig([1n, 2n, 3n]);
  raft.step(fill(MessageType.App, { index: 3, logTerm: 1, entries: [entry(4, 2)] }));
  raft.step(fill(MessageType.App, { from: 3n, term: 3, index: 3, logTerm: 1, entries: [entry(4, 3)] }));
  const [ready] = drain();
  assert.deepEqual(
    ready!.entries.map(({ term }) => term),
    [3],
  );
  assert.deepEqual(
    ready!.sendAfterPersist.map(({ to, term, index }) => [to, term, index]),
    [[3n, 3, 4]],
  );
});

test('a refusal is not merged away by an acceptance, nor a newer acceptance by an older one', () => {
  const { raft, drain } = rig([1n, 2n, 3n]);
  raft.step(fill(MessageType.App, { index: 4, logTerm: 9 }));
  raft.step(fill(MessageType.App, { index: 3, logTerm: 1, entries: [entry(4, 2), entry(5, 2)] }));
  raft.step(fill(MessageType.App, { index: 3, logTerm: 1, entries: [entry(4, 2)] }));
  const [ready] = drain();
  assert.deepEqual(
    ready!.sendAfterPersist.map(({ reject, index }) => [reject, index]),
    [
      [true, 4],
      [false, 5],
      [false, 4],
    ],
  );
});

test('reads that nobody confirms are limited', () => {
  const { raft } = leader([1n, 2n, 3n]);
  for (let i = 1; i <= READS_WAITING_MAX; i++) assert.equal(raft.readIndex(i), 'accepted');
  assert.equal(raft.readIndex(READS_WAITING_MAX + 1), 'dropped');
  assert.throws(() => raft.readIndex(0), BROKEN_LAW);
});

test('a member that has nothing to do has no Ready', () => {
  const { raft, drain } = leader([1n]);
  drain();
  assert.equal(raft.hasReady(), false);
  raft.campaign();
  assert.equal(raft.hasReady(), false, 'a leader does not campaign');
  raft.tick();
  assert.equal(raft.hasReady(), false, 'nobody to send heartbeats to');
});

test('election timeouts are drawn from [electionTicks, 2 * electionTicks - 1], all of them', () => {
  const seen = new Set<number>();
  for (let seed = 0; seed < 300; seed++) {
    const { raft } = rig([1n, 2n, 3n], { prng: new Prng(seed) });
    let ticks = 0;
    for (; raft.status.role === 0; ticks++) raft.tick();
    seen.add(ticks);
  }
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
  );
});
