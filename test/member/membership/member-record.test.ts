import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Decode, utf8Encode } from '../../../src/base/bytes.js';
import { decodeMemberRecord, encodeMemberRecord } from '../../../src/member/membership/member-record.js';

const full = {
  id: 18_446_744_073_709_551_615n,
  name: 'a<b>&"c"',
  peerUrls: ['http://p:1'],
  clientUrls: ['http://c:1', 'http://c:2'],
  isLearner: true,
};

test('JSON in etcd’s key order, escaped as Go escapes, 64-bit id unrounded', () => {
  const text = utf8Decode(encodeMemberRecord(full));
  assert.equal(
    text,
    '{"id":18446744073709551615,"peerURLs":["http://p:1"],"isLearner":true,' +
      '"name":"a\\u003cb\\u003e\\u0026\\"c\\"","clientURLs":["http://c:1","http://c:2"]}',
  );
  assert.deepEqual(decodeMemberRecord(utf8Encode(text!))?.member, full);
});

test('empty name, client URLs and learner flag are left out; no peer URLs are null', () => {
  const bare = { id: 7n, name: '', peerUrls: [], clientUrls: [], isLearner: false };
  assert.equal(utf8Decode(encodeMemberRecord(bare)), '{"id":7,"peerURLs":null}');
  assert.deepEqual(decodeMemberRecord(encodeMemberRecord(bare))?.member, bare);
});

test('a name that looks like an id does not confuse the reader', () => {
  const tricky = { ...full, name: '"id":5,' };
  assert.deepEqual(decodeMemberRecord(encodeMemberRecord(tricky))?.member, tricky);
});

test('a promotion’s context', () => {
  const context = decodeMemberRecord(utf8Encode('{"id":9,"peerURLs":null,"isPromote":true}'));
  assert.equal(context?.isPromote, true);
  assert.equal(context?.member.id, 9n);
});

test('what is not a member is undefined', () => {
  for (const text of ['', '{', 'null', '5', '{}', '{"id":"x"', '[]']) {
    assert.equal(decodeMemberRecord(utf8Encode(text)), undefined, text);
  }
  assert.equal(decodeMemberRecord(new Uint8Array([0xff])), undefined);
});
