/**
 * Pings of a client, at a real etcd and at kvorum with the same flags: who is disconnected, when, and with which words.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requireEtcd, startEtcd } from '../../support/etcd.js';
import { encodeMessage } from '../../support/messages.js';
import { startSubject } from '../../support/subject.js';
import { Flag, FrameType, frame } from '../http2/peer.js';
import { Attacker } from './attacker.js';

const ping = frame(FrameType.Ping, 0, 0, Buffer.from('kvorum42'));
const put = encodeMessage('PutRequest', { key: Buffer.from('k'), value: Buffer.from('v') });

/** So many pings, each after the answer to the one before, with a put before each where `busy`. */
async function pings(endpoint: string, times: number, busy: boolean): Promise<string> {
  const attacker = await Attacker.http2(endpoint);
  attacker.request(1, '/etcdserverpb.Watch/Watch');
  const answers = (): number =>
    attacker.frames.filter(({ type, flags }) => type === FrameType.Ping && flags === Flag.Ack).length;
  for (let turn = 0; turn < times && !attacker.closed; turn++) {
    const streamId = 2 * turn + 3;
    if (busy) attacker.request(streamId, '/etcdserverpb.KV/Put', put);
    if (busy) await attacker.endOf(streamId);
    const before = answers();
    attacker.write(ping);
    await attacker.until(() => answers() > before);
  }
  const story = attacker.story().startsWith('GOAWAY') ? await attacker.end() : `${answers()} answered`;
  attacker.destroy();
  return story;
}

const flags: readonly (readonly string[])[] = [
  [],
  ['--grpc-keepalive-min-time=0s'], // gRPC's own default, 5 minutes
  ['--grpc-keepalive-min-time=1us'],
];

test('pings are judged as by etcd', async t => {
  if ((await requireEtcd(t, '3.4')) === undefined) return;
  await Promise.all(
    flags.map(async kvorumFlags => {
      const [etcd, kvorum] = await Promise.all([
        startEtcd({ members: 1, version: '3.4', flags: kvorumFlags }),
        startSubject('kvorum', { members: 1, kvorumFlags }),
      ]);
      try {
        for (const busy of [false, true]) {
          const expected = await pings(etcd.endpoints[0] as string, 8, busy);
          assert.match(expected, /^8 answered$|^GOAWAY 11 too_many_pings, closed$/);
          assert.equal(await pings(kvorum.endpoints[0] as string, 8, busy), expected, kvorumFlags.join(' '));
        }
      } finally {
        await Promise.all([etcd.stop(), kvorum.stop()]);
      }
    }),
  );
});
