/**
 * The Huffman code (RFC 7541 appendix B, §5.2): every symbol, every ending.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { huffmanDecode, huffmanEncode, huffmanLength } from '../../../src/host/http2/hpack/huffman.js';
import { hex, text } from './peer.js';

function encode(value: string): Uint8Array {
  const target = new Uint8Array(huffmanLength(value));
  assert.equal(huffmanEncode(value, target, 0), target.length);
  return target;
}

function decode(bytes: Uint8Array): string | undefined {
  const target = new Uint8Array(Math.floor((bytes.length * 8) / 5));
  const length = huffmanDecode(bytes, 0, bytes.length, target);
  return length === -1 ? undefined : text(target.subarray(0, length));
}

it('codes the strings of RFC 7541 appendix C', () => {
  for (const [value, code] of [
    ['www.example.com', 'f1e3c2e5f23a6ba0ab90f4ff'],
    ['no-cache', 'a8eb10649cbf'],
    ['custom-value', '25a849e95bb8e8b4bf'],
    ['Mon, 21 Oct 2013 20:13:21 GMT', 'd07abe941054d444a8200595040b8166e082a62d1bff'],
  ] as const) {
    assert.deepEqual(encode(value), hex(code));
    assert.equal(decode(hex(code)), value);
  }
});

it('codes single symbols of every length as the appendix lists them', () => {
  for (const [symbol, code] of [
    ['0', '07'], // 00000
    ['t', '4f'], // 01001
    [' ', '53'], // 010100
    ['%', '57'], // 010101
    ['u', 'b7'], // 101101
    [':', 'b9'], // 1011100
    ['z', 'f7'], // 1111011
    ['&', 'f8'], // 11111000
    ['!', 'fe3f'], // 1111111000
    ['#', 'ffaf'], // 111111111010
    ['$', 'ffcf'], // 1111111111001
    ['^', 'fff3'], // 11111111111100
    ['<', 'fff9'], // 111111111111100
    ['\\', 'fffe1f'], // 1111111111111110000
    ['\x80', 'fffe6f'], // 11111111111111100110
    ['\n', 'fffffff3'], // 111111111111111111111111111100
    ['\x16', 'fffffffb'], // 111111111111111111111111111110
  ] as const) {
    assert.deepEqual(encode(symbol), hex(code), JSON.stringify(symbol));
  }
});

it('gives back every octet, alone and beside every other', () => {
  for (let first = 0; first < 256; first += 1) {
    const alone = String.fromCharCode(first);
    assert.equal(decode(encode(alone)), alone);
    for (let second = 0; second < 256; second += 7) {
      const pair = String.fromCharCode(first, second, first);
      assert.equal(decode(encode(pair)), pair);
    }
  }
  const all = Array.from({ length: 256 }, (_, octet) => String.fromCharCode(octet)).join('');
  assert.equal(decode(encode(all)), all);
});

it('takes padding of up to seven ones, and nothing else', () => {
  assert.equal(decode(hex('')), '');
  assert.equal(decode(hex('1f')), 'a', 'three ones');
  assert.equal(decode(hex('1c')), undefined, 'three bits that are not ones: 00011 100');
  assert.equal(decode(hex('18')), undefined, 'zeros');
  assert.equal(decode(hex('1fff')), undefined, 'eleven ones');
  assert.equal(decode(hex('ff')), undefined, 'eight ones');
  assert.equal(decode(hex('f8ff')), undefined, 'a whole octet of ones behind a symbol of eight bits');
  assert.equal(decode(hex('ffffffff')), undefined, 'EOS');
  assert.equal(decode(hex('1fffffffff')), undefined, 'EOS behind a symbol');
});
