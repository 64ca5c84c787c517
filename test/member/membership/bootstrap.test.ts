import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesToHex, utf8Decode } from '../../../src/base/bytes.js';
import { bootstrapLog } from '../../../src/member/membership/bootstrap.js';
import { bootstrapIds } from '../../../src/wire/ids.js';
import { decode, encode } from '../../../src/wire/schema.js';

const peerUrls = [['http://h1:2380'], ['http://h2:2380'], ['http://h3:2380']];
const ids = bootstrapIds(peerUrls, 'tkn').memberIds;
const founding = peerUrls.map((urls, i) => ({ id: ids[i]!, name: `m${i + 1}`, peerUrls: urls }));

test('one ConfChange a member, ascending by id, committed at once in term 1', () => {
  const { entries, hardState, confState } = bootstrapLog(founding);
  assert.deepEqual(
    entries.map(({ type, term, index }) => [type, term, index]),
    [
      [1, 1, 1],
      [1, 1, 2],
      [1, 1, 3],
    ],
  );
  assert.deepEqual(hardState, { term: 1, vote: 0n, commit: 3 });
  const ascending = [0x2594e4c5637b898dn, 0x3193c1ef88edd35fn, 0xcba989ddb574d14cn];
  assert.deepEqual(confState.voters, ascending);
  assert.deepEqual(
    entries.map(entry => decode('raftpb.ConfChange', entry.data).node_id),
    ascending,
  );
});

test('the data is etcd’s: id, type and node written even when zero, context with the 64-bit decimal id', () => {
  const [first] = bootstrapLog(founding).entries;
  const change = decode('raftpb.ConfChange', first!.data);
  assert.equal(utf8Decode(change.context!), `{"id":${0x2594e4c5637b898dn},"peerURLs":["http://h2:2380"],"name":"m2"}`);
  assert.equal(bytesToHex(first!.data.subarray(0, 4)), '08001000');
  assert.deepEqual(encode('raftpb.ConfChange', change), first!.data);
});

test('the order of the founding members does not matter, identical ids do', () => {
  assert.deepEqual(bootstrapLog([...founding].reverse()), bootstrapLog(founding));
  assert.throws(() => bootstrapLog([founding[0]!, founding[0]!]), /distinct/);
});
