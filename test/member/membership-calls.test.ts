/**
 * Membership calls without a cluster: the test plays Raft, the host and the other members, and reads the entries that
 * are proposed as etcd would.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostLink } from '../../src/member/host-link.js';
import { bootstrapLog } from '../../src/member/membership/bootstrap.js';
import { Members, type MembershipStore } from '../../src/member/membership/members.js';
import { MembershipCalls } from '../../src/member/membership-calls.js';
import type { OpenMember } from '../../src/member/open.js';
import { PeerCalls } from '../../src/member/peer-calls.js';
import type { PeerLinks } from '../../src/member/peer-links.js';
import { Proposals } from '../../src/member/proposals.js';
import type { Proposal } from '../../src/member/raft/types.js';
import { EtcdErrorCode, etcdErrorName } from '../../src/wire/errors.js';
import { addedMemberId } from '../../src/wire/ids.js';
import { Method } from '../../src/wire/methods.js';
import { decode, encode } from '../../src/wire/schema.js';

const [me, other] = [0x1234_5678_9abc_0001n, 2n];
const unixSeconds = 1_700_000_000;
const electionTimeoutMs = 1_000;
const url = 'http://127.0.0.1:1';
const newId = addedMemberId([url], unixSeconds);

/** The table keeps itself in memory; nothing is read back here. */
const emptyStore: MembershipStore = { get: () => undefined, put() {}, delete() {}, list: () => [] };

class Stage {
  readonly members = new Members(emptyStore, 1);
  readonly raft = {
    id: me,
    leader: me,
    isLeader: true,
    term: 3,
    confChangePending: false,
    status: { progress: [{ id: me, match: 100 }] },
    propose: (entries: readonly Proposal[]) => {
      if (this.raft.leader === 0n) return 'dropped';
      for (const { data } of entries) this.proposed.push(data);
      return this.raft.isLeader ? 'accepted' : 'forwarded';
    },
  };
  readonly proposed: Uint8Array[] = [];
  readonly sent: { readonly to: bigint; readonly id: number }[] = [];
  readonly replied: string[] = [];
  readonly peerCalls: PeerCalls;
  readonly calls: MembershipCalls;
  readonly #methods = new Map<number, number>();
  #heard: string[] = [];

  constructor() {
    const peers = {
      connectedSinceMs: () => undefined,
      sendCall: (to: bigint, _method: number, id: number) => this.sent.push({ to, id }),
      sendReply: (to: bigint, id: number, code: EtcdErrorCode | 0) =>
        this.replied.push(`${to} #${id} ${code === 0 ? 'done' : etcdErrorName(code)}`),
    } as unknown as PeerLinks;
    const host = {
      reply: (id: number, bytes: Uint8Array) => {
        const added = this.#methods.get(id) === Method.MemberAdd;
        const { members } = decode(`etcdserverpb.Member${added ? 'Add' : 'Remove'}Response`, bytes);
        this.#heard.push(`${id}: done, ${members.length} members`);
      },
      end: (id: number, code: EtcdErrorCode) => this.#heard.push(`${id}: ${etcdErrorName(code)}`),
    } as unknown as HostLink;
    const boot = { clusterId: 9n, settings: { strictReconfigCheck: true, electionTimeoutMs } };
    const open = { boot, identity: { id: me }, raft: this.raft, state: { members: this.members } };
    this.peerCalls = new PeerCalls(peers, 1, electionTimeoutMs);
    const [founding] = bootstrapLog([{ id: me, name: 'm1', peerUrls: ['http://127.0.0.1:99'] }]).entries;
    this.members.applyConfChange(founding?.data as Uint8Array);
    this.calls = new MembershipCalls({
      host,
      peers,
      calls: this.peerCalls,
      proposals: new Proposals(0),
      open: open as unknown as OpenMember,
      idMember: 1,
      unixSeconds: () => unixSeconds,
    });
  }

  open(method: number, id: number, payload: Uint8Array, nowMs = 0): void {
    this.#methods.set(id, method);
    const error = this.calls.open(method, id, payload, nowMs);
    if (error !== undefined) this.#heard.push(`${id}: ${etcdErrorName(error)}`);
  }

  add(id: number, peerURL: string, isLearner = false): void {
    this.open(Method.MemberAdd, id, encode('etcdserverpb.MemberAddRequest', { peerURLs: [peerURL], isLearner }));
  }

  promote(id: number, ID: bigint, nowMs = 0): void {
    this.open(Method.MemberPromote, id, encode('etcdserverpb.MemberPromoteRequest', { ID }), nowMs);
  }

  /** Applies what was proposed. */
  apply(): void {
    for (const data of this.proposed.splice(0)) this.calls.applied(this.members.applyConfChange(data));
  }

  /** What the last proposed entry says. */
  lastChange() {
    const { id, type, node_id, context } = decode('raftpb.ConfChange', this.proposed.at(-1) as Uint8Array);
    return { idMember: id >> 48n, type, node_id, context: Buffer.from(context ?? []).toString() };
  }

  heard(): string[] {
    return this.#heard.splice(0);
  }
}

test('a voter, a learner, a removal, an update and a promotion are etcd’s entries', () => {
  const stage = new Stage();
  stage.add(1, ` ${url}`);
  stage.calls.offer(0);
  const context = `{"id":${newId},"peerURLs":["${url}"]}`;
  assert.deepEqual(stage.lastChange(), { idMember: 1n, type: 0, node_id: newId, context });
  stage.apply();
  assert.deepEqual(stage.heard(), ['1: done, 2 members']);

  stage.open(
    Method.MemberUpdate,
    2,
    encode('etcdserverpb.MemberUpdateRequest', { ID: newId, peerURLs: ['http://b:1'] }),
  );
  stage.calls.offer(0);
  const updated = `{"id":${newId},"peerURLs":["http://b:1"]}`;
  assert.deepEqual(stage.lastChange(), { idMember: 1n, type: 2, node_id: newId, context: updated });
  stage.apply();

  stage.open(Method.MemberRemove, 3, encode('etcdserverpb.MemberRemoveRequest', { ID: newId }));
  stage.calls.offer(0);
  assert.deepEqual(stage.lastChange(), { idMember: 1n, type: 1, node_id: newId, context: '' });
  stage.apply();
  assert.deepEqual(stage.heard(), ['2: done, 2 members', '3: done, 1 members']);

  stage.add(4, 'http://127.0.0.1:2', true);
  stage.calls.offer(0);
  const learner = addedMemberId(['http://127.0.0.1:2'], unixSeconds);
  const learns = `{"id":${learner},"peerURLs":["http://127.0.0.1:2"],"isLearner":true}`;
  assert.deepEqual(stage.lastChange(), { idMember: 1n, type: 3, node_id: learner, context: learns });
  stage.apply();
  stage.raft.status.progress.push({ id: learner, match: 90 });
  stage.promote(5, learner);
  stage.calls.offer(0);
  const promotes = `{"id":${learner},"peerURLs":null,"isPromote":true}`;
  assert.deepEqual(stage.lastChange(), { idMember: 1n, type: 0, node_id: learner, context: promotes });
  stage.apply();
  assert.deepEqual(stage.heard(), ['4: done, 2 members', '5: done, 2 members']);
});

test('an id that was removed does not come back, not within the second either', () => {
  const stage = new Stage();
  stage.add(1, url);
  stage.calls.offer(0);
  stage.apply();
  stage.open(Method.MemberRemove, 2, encode('etcdserverpb.MemberRemoveRequest', { ID: newId }));
  stage.calls.offer(0);
  stage.apply();
  stage.add(3, url);
  stage.calls.offer(0);
  stage.apply();
  assert.deepEqual(stage.heard().at(-1), '3: MemberNotFound');
});

test('the leader is handed one change at a time, and none while one is under way', () => {
  const stage = new Stage();
  stage.raft.confChangePending = true;
  stage.add(1, url, true);
  stage.open(Method.MemberRemove, 2, encode('etcdserverpb.MemberRemoveRequest', { ID: newId }));
  stage.calls.offer(0);
  assert.equal(stage.proposed.length, 0);
  stage.raft.confChangePending = false;
  stage.calls.offer(0);
  stage.calls.offer(1);
  assert.equal(stage.proposed.length, 1);
  stage.apply();
  stage.calls.offer(2);
  stage.apply();
  assert.deepEqual(stage.heard(), ['1: done, 2 members', '2: done, 1 members']);
});

test('what was forwarded and lost holds the next one up for an election timeout only', () => {
  const stage = new Stage();
  Object.assign(stage.raft, { leader: other, isLeader: false });
  stage.add(1, url, true);
  stage.open(Method.MemberRemove, 2, encode('etcdserverpb.MemberRemoveRequest', { ID: newId }));
  stage.calls.offer(0);
  stage.calls.offer(electionTimeoutMs - 1);
  assert.equal(stage.proposed.length, 1);
  stage.calls.offer(electionTimeoutMs);
  assert.equal(stage.proposed.length, 2);
});

test('a client that gave up withdraws what Raft has not taken', () => {
  const stage = new Stage();
  stage.raft.leader = 0n;
  stage.add(1, url);
  stage.calls.offer(0);
  stage.calls.cancel(1);
  stage.raft.leader = me;
  stage.calls.offer(1);
  assert.equal(stage.proposed.length, 0);
});

test('the leader judges a promotion: unknown, behind, in sync', () => {
  const stage = new Stage();
  stage.promote(1, 77n);
  stage.raft.status.progress.push({ id: 78n, match: 89 });
  stage.promote(2, 78n);
  stage.calls.offer(0);
  assert.deepEqual(stage.heard(), ['1: MemberNotFound', '2: LearnerNotReady']);
  stage.calls.peerCall(other, 9, encode('etcdserverpb.MemberPromoteRequest', { ID: 78n }));
  assert.deepEqual(stage.replied, ['2 #9 LearnerNotReady']);
  stage.raft.isLeader = false;
  stage.calls.peerCall(other, 10, encode('etcdserverpb.MemberPromoteRequest', { ID: 78n }));
  assert.deepEqual(stage.replied.at(-1), '2 #10 NotLeader');
});

test('another member asks the leader, again when it is lost, and passes its answer on', () => {
  const stage = new Stage();
  Object.assign(stage.raft, { leader: other, isLeader: false });
  stage.promote(1, 78n);
  stage.calls.offer(0);
  stage.calls.offer(1);
  assert.deepEqual(stage.sent.length, 1);
  stage.peerCalls.expire(electionTimeoutMs);
  stage.calls.offer(electionTimeoutMs);
  const [, second] = stage.sent as [unknown, { id: number }];
  stage.peerCalls.reply(other, second.id, EtcdErrorCode.NotLeader, new Uint8Array(0));
  stage.calls.offer(electionTimeoutMs + 50);
  assert.equal(stage.sent.length, 2, 'not at once');
  stage.calls.offer(electionTimeoutMs + 100);
  const third = stage.sent[2] as { id: number };
  stage.peerCalls.reply(other, third.id, EtcdErrorCode.LearnerNotReady, new Uint8Array(0));
  assert.deepEqual(stage.heard(), ['1: LearnerNotReady']);
});

test('a promotion that another member asked for and that was lost is forgotten in time', () => {
  const stage = new Stage();
  stage.add(1, url, true);
  stage.calls.offer(0);
  stage.apply();
  stage.raft.status.progress.push({ id: newId, match: 100 });
  stage.calls.peerCall(other, 9, encode('etcdserverpb.MemberPromoteRequest', { ID: newId }));
  stage.calls.offer(0);
  assert.equal(stage.proposed.length, 1);
  stage.calls.expire(6_999, 7_000);
  stage.calls.expire(7_000, 7_000);
  stage.apply();
  assert.deepEqual(stage.replied, [], 'who asked has given up by now');
});

test('a promotion without a leader ends in time; every call ends when the member stops', () => {
  const stage = new Stage();
  stage.raft.leader = 0n;
  stage.promote(1, 78n, 0);
  stage.calls.expire(6_999, 7_000);
  assert.deepEqual(stage.heard(), []);
  stage.calls.expire(7_000, 7_000);
  assert.deepEqual(stage.heard(), ['1: NoLeader']);
  stage.add(2, url);
  stage.promote(3, 78n);
  const ended: number[] = [];
  stage.calls.failAll(id => ended.push(id));
  assert.deepEqual(ended, [2, 3]);
});
