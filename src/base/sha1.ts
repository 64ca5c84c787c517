/**
 * SHA-1 (FIPS 180-4 §6.1) of short inputs, synchronous and without node:crypto.
 *
 * etcd derives member and cluster ids from SHA-1 digests; the host and the members must come to the same ids, and the
 * folders that know ids are pure. Not for anything that needs a secure hash, and not for bulk data.
 */
const BLOCK_BYTES = 64;

/** The 20-byte digest of `message`. */
export function sha1(message: Uint8Array): Uint8Array {
  const blocks = pad(message);
  const state = new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]);
  const words = new Uint32Array(80);
  for (let offset = 0; offset < blocks.byteLength; offset += BLOCK_BYTES) {
    for (let t = 0; t < 16; t++) words[t] = blocks.getUint32(offset + 4 * t);
    for (let t = 16; t < 80; t++) words[t] = rotateLeft(word(words, t - 3, t - 8, t - 14, t - 16), 1);
    addBlock(state, words);
  }
  const digest = new DataView(new ArrayBuffer(20));
  for (let i = 0; i < 5; i++) digest.setUint32(4 * i, state[i] as number);
  return new Uint8Array(digest.buffer);
}

/** The message, a 1 bit, zeros, and the message's length in bits as the last 8 bytes of a whole block. */
function pad(message: Uint8Array): DataView {
  const blocks = Math.ceil((message.length + 9) / BLOCK_BYTES);
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(message.length) * 8n);
  return view;
}

function addBlock(state: Uint32Array, words: Uint32Array): void {
  let [a, b, c, d, e] = state as unknown as [number, number, number, number, number];
  for (let t = 0; t < 80; t++) {
    const next = (rotateLeft(a, 5) + mix(t, b, c, d) + e + (words[t] as number)) >>> 0;
    e = d;
    d = c;
    c = rotateLeft(b, 30);
    b = a;
    a = next;
  }
  for (const [i, value] of [a, b, c, d, e].entries()) state[i] = (state[i] as number) + value;
}

/** The round's function and constant. */
function mix(t: number, b: number, c: number, d: number): number {
  if (t < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (t < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (t < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

function word(words: Uint32Array, w: number, x: number, y: number, z: number): number {
  return (words[w] as number) ^ (words[x] as number) ^ (words[y] as number) ^ (words[z] as number);
}

function rotateLeft(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0;
}
