/**
 * The Huffman code of RFC 7541 appendix B.
 *
 * The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and each length
 * continues where the shorter one ended. So the 257 lengths below are the whole table; codes are computed from them.
 *
 * Decoding walks four bits a step through a table made of the code tree: one row per inner node, one column per nibble.
 * The shortest code has five bits, hence a step emits at most one symbol:
 *
 *     cell = next node << 10 | emits << 9 | invalid << 8 | symbol
 *
 * A string may end in at most seven bits of padding, all ones, the beginning of EOS; EOS itself is an error (§5.2).
 */
import { assert } from '../../../base/assert.js';

/** Code lengths in bits of the symbols 0 to 255 and of EOS (256). */
// biome-ignore format: sixteen symbols a row
const codeBits = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];

const symbolEos = 256;
const codeBitsMax = 30;
const paddingBitsMax = 7;

const codes = canonicalCodes();

const cellEmits = 1 << 9;
const cellInvalid = 1 << 8;
/** Bit n is the value 1 where a string may end at node n. */
const mayEnd = new Uint8Array(256);
const cells = buildCells();

/** How many octets `text` takes when Huffman coded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at += 1) bits += codeBits[text.charCodeAt(at)]!;
  return (bits + 7) >>> 3;
}

/**
 * Writes the code of `text` (octets) at `target[at]`; returns the place behind it. `huffmanLength` octets are
 * written.
 */
export function huffmanEncode(text: string, target: Uint8Array, at: number): number {
  let held = 0;
  let heldBits = 0;
  let to = at;
  for (let index = 0; index < text.length; index += 1) {
    const symbol = text.charCodeAt(index);
    let bits = codeBits[symbol]!;
    const code = codes[symbol]!;
    while (bits > 0) {
      const taken = Math.min(bits, 8 - heldBits);
      held = (held << taken) | ((code >>> (bits - taken)) & ((1 << taken) - 1));
      heldBits += taken;
      bits -= taken;
      if (heldBits === 8) {
        target[to] = held;
        to += 1;
        held = 0;
        heldBits = 0;
      }
    }
  }
  if (heldBits > 0) {
    target[to] = (held << (8 - heldBits)) | ((1 << (8 - heldBits)) - 1);
    to += 1;
  }
  return to;
}

/**
 * Decodes `bytes[from, to)` into `target` (which must hold (to - from) * 8 / 5 octets). Returns the number of octets,
 * or -1 for a string that is not validly coded: EOS inside, padding that is too long or has a zero bit.
 */
export function huffmanDecode(bytes: Uint8Array, from: number, to: number, target: Uint8Array): number {
  let node = 0;
  let length = 0;
  for (let at = from; at < to; at += 1) {
    const octet = bytes[at]!;
    const high = cells[(node << 4) | (octet >>> 4)]!;
    if ((high & cellInvalid) !== 0) return -1;
    if ((high & cellEmits) !== 0) {
      target[length] = high;
      length += 1;
    }
    const low = cells[((high >>> 10) << 4) | (octet & 15)]!;
    if ((low & cellInvalid) !== 0) return -1;
    if ((low & cellEmits) !== 0) {
      target[length] = low;
      length += 1;
    }
    node = low >>> 10;
  }
  return mayEnd[node] === 1 ? length : -1;
}

function canonicalCodes(): Uint32Array {
  const result = new Uint32Array(codeBits.length);
  let code = 0;
  for (let bits = 1; bits <= codeBitsMax; bits += 1) {
    code *= 2;
    for (let symbol = 0; symbol < codeBits.length; symbol += 1) {
      if (codeBits[symbol] !== bits) continue;
      result[symbol] = code;
      code += 1;
    }
  }
  assert(code === 2 ** codeBitsMax, 'the Huffman code is not complete', { code });
  return result;
}

/** The tree as pairs of children: inner nodes are numbers >= 0, leaves are -1 - symbol. */
function buildTree(): [number, number][] {
  const tree: [number, number][] = [[0, 0]];
  codeBits.forEach((bits, symbol) => {
    let node = 0;
    for (let bit = bits - 1; bit >= 0; bit -= 1) {
      const side = (codes[symbol]! >>> bit) & 1;
      const children = tree[node]!;
      if (bit === 0) {
        children[side] = -1 - symbol;
      } else {
        if (children[side] === 0) {
          children[side] = tree.length;
          tree.push([0, 0]);
        }
        node = children[side]!;
      }
    }
  });
  return tree;
}

function buildCells(): Uint32Array {
  const tree = buildTree();
  assert(tree.length === mayEnd.length, 'the Huffman tree has the wrong number of inner nodes', { nodes: tree.length });
  const result = new Uint32Array(tree.length * 16);
  for (let node = 0; node < tree.length; node += 1) {
    for (let nibble = 0; nibble < 16; nibble += 1) result[node * 16 + nibble] = walk(tree, node, nibble);
  }
  let node = 0;
  for (let depth = 0; depth <= paddingBitsMax; depth += 1) {
    mayEnd[node] = 1;
    node = tree[node]![1];
  }
  return result;
}

function walk(tree: [number, number][], start: number, nibble: number): number {
  let node = start;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit -= 1) {
    const next: number = tree[node]![(nibble >>> bit) & 1]!;
    if (next >= 0) {
      node = next;
      continue;
    }
    const symbol = -1 - next;
    if (symbol === symbolEos) return cellInvalid;
    emitted = cellEmits | symbol;
    node = 0;
  }
  return (node << 10) | emitted;
}
