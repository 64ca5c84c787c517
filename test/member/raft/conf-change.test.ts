/** Configuration changes as a pure function, and their encoding. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import {
  applyChange,
  checkConfState,
  EMPTY_CONF_STATE,
  isJoint,
  LEAVE_JOINT,
} from '../../../src/member/raft/conf-change.js';
import { decodeConfChange, encodeConfChange, encodeConfChangeV2 } from '../../../src/member/raft/conf-change-codec.js';
import { majority } from '../../../src/member/raft/quorum.js';
import {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
  EntryType,
} from '../../../src/member/raft/types.js';
import { describeConfState } from './support/describe.js';

const UINT64_MAX = (1n << 64n) - 1n;
const { Auto, JointExplicit, JointImplicit } = ConfChangeTransition;
const add = (nodeId: bigint): ConfChangeSingle => ({ type: ConfChangeType.AddNode, nodeId });
const remove = (nodeId: bigint): ConfChangeSingle => ({ type: ConfChangeType.RemoveNode, nodeId });
const learn = (nodeId: bigint): ConfChangeSingle => ({ type: ConfChangeType.AddLearnerNode, nodeId });
const voters = (...ids: bigint[]): ConfState => ({ ...EMPTY_CONF_STATE, voters: ids });

function applied(config: ConfState, transition: ConfChange['transition'], ...changes: ConfChangeSingle[]): string {
  const result = applyChange(config, { transition, changes });
  return result.ok ? describeConfState(result.config) : result.reason;
}

test('simple changes touch one voter', () => {
  const config = voters(1n, 2n, 3n);
  assert.equal(applied(config, Auto, add(4n)), 'voters=(1 2 3 4)');
  assert.equal(applied(config, Auto, add(3n)), 'voters=(1 2 3)', 'adding a voter that is one changes nothing');
  assert.equal(applied(config, Auto, remove(9n)), 'voters=(1 2 3)', 'removing nobody changes nothing');
  assert.equal(applied(config, Auto, learn(3n)), 'voters=(1 2) learners=(3)');
  assert.equal(applied(config, Auto, add(0n)), 'voters=(1 2 3)', 'id 0 stands for a refused change');
  assert.equal(applied(voters(1n), Auto, remove(1n)), 'no voter would be left');
  assert.equal(applied(config, Auto), 'cannot leave a configuration that is not joint');
});

test('several changes go through a joint configuration', () => {
  const config: ConfState = { ...voters(1n, 2n, 3n), learners: [4n] };
  assert.equal(applied(config, Auto, add(4n), remove(3n)), 'voters=(1 2 4) outgoing=(1 2 3) auto-leave');
  assert.equal(applied(config, JointImplicit, add(5n)), 'voters=(1 2 3 5) outgoing=(1 2 3) learners=(4) auto-leave');
  assert.equal(
    applied(config, JointExplicit, learn(3n)),
    'voters=(1 2) outgoing=(1 2 3) learners=(4) learners-next=(3)',
    'an outgoing voter goes on voting',
  );
  const joint: ConfState = { ...voters(1n, 2n), votersOutgoing: [1n, 2n, 3n], learnersNext: [3n] };
  assert.equal(applied(joint, JointImplicit, add(5n)), 'the configuration is already joint');
  assert.equal(applied(joint, Auto, add(5n)), 'a simple change must wait until the joint configuration is left');
  assert.equal(applied(joint, Auto), 'voters=(1 2) learners=(3)');
  assert.equal(
    applied(config, JointExplicit, learn(3n), add(3n)),
    'voters=(1 2 3) outgoing=(1 2 3) learners=(4)',
    'the last word counts',
  );
  assert.equal(applied(EMPTY_CONF_STATE, JointImplicit, add(1n)), 'a configuration without voters cannot become joint');
});

test('consecutive configurations always share a voter in any two majorities', () => {
  const prng = new Prng(3);
  for (let round = 0; round < 400; round++) {
    let config = voters(1n, 2n, 3n);
    for (let i = 0; i < 8; i++) {
      const change = drawChange(prng);
      const result = applyChange(config, isJoint(config) && prng.nextBelow(2) === 0 ? LEAVE_JOINT : change);
      if (!result.ok) continue;
      checkConfState(result.config);
      assert.ok(
        majoritiesOverlap(config, result.config),
        `${describeConfState(config)} -> ${describeConfState(result.config)}`,
      );
      config = result.config;
    }
  }
});

test('conf change entries have the bytes of raftpb, as etcd 3.6 writes them', () => {
  const context = Uint8Array.of(0x7b, 0x7d);
  const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
  const join = { id: 0n, type: ConfChangeType.AddNode, nodeId: 1n, context };
  assert.equal(hex(encodeConfChange(join)), '08001000180122027b7d');
  const leave = { id: 77n, type: ConfChangeType.RemoveNode, nodeId: 9n, context: new Uint8Array(0) };
  assert.equal(hex(encodeConfChange(leave)), '084d10011809');
  const large = { id: UINT64_MAX, type: ConfChangeType.AddLearnerNode, nodeId: UINT64_MAX, context };
  assert.deepEqual(decodeConfChange({ type: EntryType.ConfChange, data: encodeConfChange(large) }), {
    id: UINT64_MAX,
    change: { transition: Auto, changes: [learn(UINT64_MAX)] },
    context,
  });
  const asVersion37 = decodeConfChange({ type: EntryType.ConfChange, data: Buffer.from('1000180122027b7d', 'hex') });
  assert.deepEqual(asVersion37?.change.changes, [add(1n)]);
});

test('the second version round-trips, and the empty one leaves a joint configuration', () => {
  const change: ConfChange = { transition: JointExplicit, changes: [add(1n), remove(UINT64_MAX)] };
  const decoded = decodeConfChange({
    type: EntryType.ConfChangeV2,
    data: encodeConfChangeV2(change, Uint8Array.of(1)),
  });
  assert.deepEqual(decoded, { id: 0n, change, context: Uint8Array.of(1) });
  const leave = decodeConfChange({ type: EntryType.ConfChangeV2, data: new Uint8Array(0) });
  assert.deepEqual(leave?.change, LEAVE_JOINT);
});

test('malformed conf changes are a value, absent fields are 0, unknown ones are skipped', () => {
  const decode = (hex: string, type: EntryType = EntryType.ConfChange) =>
    decodeConfChange({ type, data: Buffer.from(hex, 'hex') });
  assert.deepEqual(decode('')?.change.changes, [add(0n)]);
  assert.deepEqual(decode('18052a01613500000000390000000000000000')?.change.changes, [add(5n)]);
  for (const hex of ['08', '0a05', '1009', '00', '0b', 'ffffffffffffffffffff01', '08ffffffffffffffffff7f']) {
    assert.equal(decode(hex), undefined, hex);
  }
  assert.equal(decode('0803', EntryType.ConfChangeV2), undefined, 'an unknown transition');
  assert.equal(decode('12020809', EntryType.ConfChangeV2), undefined, 'an unknown type inside');
});

function drawChange(prng: Prng): ConfChange {
  const count = 1 + prng.nextBelow(3);
  const changes: ConfChangeSingle[] = [];
  for (let i = 0; i < count; i++) {
    const nodeId = 1n + BigInt(prng.nextBelow(5));
    changes.push([add, remove, learn][prng.nextBelow(3)]!(nodeId));
  }
  return { transition: [Auto, JointImplicit, JointExplicit][prng.nextBelow(3)]!, changes };
}

/** Whether every deciding set of `a` meets every deciding set of `b`. */
function majoritiesOverlap(a: ConfState, b: ConfState): boolean {
  const all = [1n, 2n, 3n, 4n, 5n];
  const sets = Array.from({ length: 32 }, (_, bits) => all.filter((_, i) => (bits >> i) % 2 === 1));
  const decides = (config: ConfState, set: readonly bigint[]) =>
    [config.voters, config.votersOutgoing].every(
      group => group.length === 0 || group.filter(id => set.includes(id)).length >= majority(group.length),
    );
  const ofA = sets.filter(set => decides(a, set));
  const ofB = sets.filter(set => decides(b, set));
  return ofA.every(x => ofB.every(y => x.some(id => y.includes(id))));
}
