import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalPeerUrls } from '../../src/wire/peer-urls.js';

test('peer URLs are trimmed, their scheme in lower case, and sorted', () => {
  assert.deepEqual(canonicalPeerUrls([' http://b:1 ', 'HTTPS://a:1']), ['http://b:1', 'https://a:1']);
  for (const url of [
    'http://127.0.0.1:2380',
    'http://[::1]:2380',
    'unix:///some/socket',
    'unixs:name:1',
    'http://h:',
  ]) {
    assert.deepEqual(canonicalPeerUrls([url]), [url]);
  }
});

for (const bad of [
  [],
  [''],
  ['127.0.0.1:2380'],
  ['http://127.0.0.1'],
  ['http://127.0.0.1:2380/'],
  ['http://127.0.0.1:2380/path'],
  ['http://a:b:2380'],
  ['http://::1:2380'],
  ['http://h:port'],
  ['ftp://h:1'],
  ['http://h ost:1'],
  ['http://h%zz:1'],
  ['http://good:1', 'bad'],
]) {
  test(`${JSON.stringify(bad)} are no peer URLs`, () => {
    assert.equal(canonicalPeerUrls(bad), undefined);
  });
}
