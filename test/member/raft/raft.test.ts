/** The core driven by hand, where a transcript would say less than code. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { bootstrap } from './support/bootstrap.js';
import type { Envelope } from './support/test-member.js';

test('three members elect at once when the first one campaigns, and commit', () => {
  const queue: Envelope[] = [];
  const applied = new Map<bigint, string[]>();
  const members = [1n, 2n, 3n].map(id => {
    const lines: string[] = [];
    applied.set(id, lines);
    return bootstrap(id, [1n, 2n, 3n], {
      settings: {
        electionTicks: 10,
        heartbeatTicks: 1,
        preVote: true,
        checkQuorum: true,
        messageBytesMax: 1 << 20,
        inflightMessagesMax: 512,
        uncommittedBytesMax: 1 << 30,
        prng: new Prng(Number(id)),
      },
      events: {
        send: envelope => queue.push(envelope),
        applied: entry => lines.push(`${entry.index}/${entry.term}`),
      },
    });
  });
  const settle = () => {
    let busy = true;
    while (busy) {
      busy = false;
      for (const member of members) {
        while (member.raft.hasReady()) {
          busy = true;
          member.processReady();
        }
      }
      for (const envelope of queue.splice(0)) {
        busy = true;
        members.find(({ id }) => id === envelope.message.to)?.receive(envelope);
      }
    }
  };
  settle();
  members[0]!.raft.campaign();
  settle();
  assert.equal(members[0]!.raft.isLeader, true);
  assert.equal(members[1]!.raft.propose([{ type: 0, data: Buffer.from('x') }]), 'forwarded');
  assert.equal(members[0]!.raft.propose([{ type: 0, data: Buffer.from('y') }]), 'accepted');
  settle();
  for (const lines of applied.values()) assert.deepEqual(lines, ['1/1', '2/1', '3/1', '4/2', '5/2', '6/2']);
  assert.equal(new Set(members.map(member => member.state.digest)).size, 1);
});
