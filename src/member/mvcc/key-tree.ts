/**
 * The user keys in byte order: a B+tree over the slots of a KeyTable, whose nodes know how many of their keys exist.
 *
 *     branch   separators  [ "g",   "p" ]          children[i] holds keys in [separators[i-1], separators[i])
 *              children    [ *,  *,  * ]
 *     leaf     slots       [ a, c, f ]             ascending by key
 *
 * A node is a number: a leaf is >= 0 and a block of numbers in `#blocks`, of which there are many; a branch is < 0, its
 * complement the place in `#branches`, of which there are few.
 *
 *     leaf block   [ count, live, newest main, skip, parent, -, -, - | 64 heads | 64 slots ]
 *
 * Every node carries two numbers about the keys below it, changed along one path when a key changes:
 *
 *     live         keys that exist at their newest revision
 *     newest main  the largest main revision of any of them, or more
 *
 * They make counting cheap: a subtree with newest main <= R has exactly `live` keys at revision R, whatever its size.
 * So the count of a range at the current revision takes one path down each edge, and at an older revision only the
 * leaves that changed since are looked through.
 *
 * Searching by comparing keys is slow because every comparison fetches a key from memory. So a node also has heads: the
 * six bytes of each key behind the `skip` ones that all keys of the node share, as one number. Only keys with equal
 * heads are compared byte by byte. What they share is known without looking: it is the common prefix of the separators
 * around the node, and changes only when the node is split or joined.
 *
 *     between "/registry/pods/a" and "/registry/pods/c":  skip = 15, "/registry/pods/bob" has the head of "bob"
 *
 * Nodes split when full, and a full rightmost node stays full (keys that come in order fill the leaves). A node that
 * falls below a quarter is joined with a neighbour of the same parent if both fit in three quarters.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import { childIndex, commonPrefix, headOf, KeyBranch, NO_PARENT } from './key-branch.js';
import type { KeyTable } from './key-table.js';

const NODE_MAX = 64;
const NODE_SMALL = 16;
const NODE_JOINED_MAX = 48;

const COUNT = 0;
const LIVE = 1;
const NEWEST_MAIN = 2;
const SKIP = 3;
const PARENT = 4;
const HEADS = 8;
const SLOTS = HEADS + NODE_MAX;
const BLOCK_LENGTH = SLOTS + NODE_MAX;
const BLOCK_SHIFT = 6;
const BLOCK_MASK = (1 << BLOCK_SHIFT) - 1;

export class KeyTree {
  readonly #table: KeyTable;
  readonly #blocks: Float64Array[] = [];
  readonly #branches: KeyBranch[] = [];
  readonly #freeLeaves: number[] = [];
  readonly #freeBranches: number[] = [];
  #leaves = 0;
  #root: number;
  #size = 0;

  constructor(table: KeyTable) {
    this.#table = table;
    this.#root = this.#newLeaf();
  }

  /** Keys in the tree, deleted but not yet compacted ones included. */
  get size(): number {
    return this.#size;
  }

  /** Adds a slot whose key is not in the tree. Its revisions count from the next `changed` on. */
  insert(slot: number, key: Uint8Array): void {
    let leaf = this.#leafOf(key);
    let at = this.#lowerBound(leaf, key);
    if (this.#block(leaf)[this.#offset(leaf) + COUNT] === NODE_MAX) {
      leaf = this.#splitLeaf(leaf, at, key);
      at = this.#lowerBound(leaf, key);
    }
    const block = this.#block(leaf);
    const offset = this.#offset(leaf);
    const count = block[offset + COUNT]!;
    for (let move = count; move > at; move -= 1) {
      block[offset + HEADS + move] = block[offset + HEADS + move - 1]!;
      block[offset + SLOTS + move] = block[offset + SLOTS + move - 1]!;
    }
    block[offset + HEADS + at] = headOf(key, block[offset + SKIP]!);
    block[offset + SLOTS + at] = slot;
    block[offset + COUNT] = count + 1;
    this.#table.setLeaf(slot, leaf);
    this.#size += 1;
  }

  /** Takes out a key that does not exist any more. */
  remove(slot: number): void {
    assert(!this.#table.live(slot), 'only a deleted key leaves the tree');
    const leaf = this.#table.leaf(slot);
    const block = this.#block(leaf);
    const offset = this.#offset(leaf);
    const at = this.#lowerBound(leaf, this.#table.key(slot));
    const count = block[offset + COUNT]! - 1;
    assert(at <= count && block[offset + SLOTS + at] === slot, 'the leaf holds the key', { slot, leaf, at });
    for (let move = at; move < count; move += 1) {
      block[offset + HEADS + move] = block[offset + HEADS + move + 1]!;
      block[offset + SLOTS + move] = block[offset + SLOTS + move + 1]!;
    }
    block[offset + COUNT] = count;
    this.#size -= 1;
    if (count < NODE_SMALL) this.#join(leaf);
  }

  /**
   * Tells the nodes above a slot that it got a revision at `main`, at least as new as any other in the tree;
   * `liveChange` is 1 when the key began to exist, -1 when it ceased to, else 0.
   */
  changed(slot: number, main: number, liveChange: number): void {
    const leaf = this.#table.leaf(slot);
    const block = this.#block(leaf);
    const offset = this.#offset(leaf);
    block[offset + NEWEST_MAIN] = main;
    block[offset + LIVE]! += liveChange;
    for (let node = block[offset + PARENT]!; node !== NO_PARENT; ) {
      const branch = this.#branch(node);
      branch.newestMain = main;
      branch.live += liveChange;
      node = branch.parent;
    }
  }

  /** Calls `visit` for the slots in [from, to) in key order until it returns false; `to` null: no upper bound. */
  visit(from: Uint8Array, to: Uint8Array | null, visit: (slot: number) => boolean): void {
    if (to === null || compareBytes(to, from) > 0) this.#visit(this.#root, from, to, visit);
  }

  /** Number of keys in [from, to) that exist at revision `atMain`. */
  countLive(from: Uint8Array, to: Uint8Array | null, atMain: number): number {
    return to === null || compareBytes(to, from) > 0 ? this.#count(this.#root, from, to, atMain) : 0;
  }

  /** Asserts what the header of this file promises about every node; for tests, it looks at everything. */
  check(): void {
    const counted = this.#check(this.#root, null, null);
    assert(counted === this.#size, 'the tree holds as many keys as it says', { counted, size: this.#size });
  }

  #block(leaf: number): Float64Array {
    return this.#blocks[leaf >>> BLOCK_SHIFT]!;
  }

  #offset(leaf: number): number {
    return (leaf & BLOCK_MASK) * BLOCK_LENGTH;
  }

  #branch(node: number): KeyBranch {
    return this.#branches[~node]!;
  }

  #newLeaf(): number {
    const leaf = this.#freeLeaves.pop() ?? this.#leaves++;
    if (leaf >>> BLOCK_SHIFT === this.#blocks.length) this.#blocks.push(new Float64Array(BLOCK_LENGTH << BLOCK_SHIFT));
    this.#block(leaf).fill(0, this.#offset(leaf), this.#offset(leaf) + HEADS);
    return leaf;
  }

  #newBranch(): number {
    const place = this.#freeBranches.pop() ?? this.#branches.length;
    this.#branches[place] = new KeyBranch();
    return ~place;
  }

  #leafOf(key: Uint8Array): number {
    let node = this.#root;
    while (node < 0) {
      const branch = this.#branch(node);
      node = branch.children[childIndex(branch, key)]!;
    }
    return node;
  }

  /** Position of the first slot of the leaf whose key is >= key. */
  #lowerBound(leaf: number, key: Uint8Array): number {
    const block = this.#block(leaf);
    const offset = this.#offset(leaf);
    const head = headOf(key, block[offset + SKIP]!);
    const heads = offset + HEADS;
    const slots = offset + SLOTS;
    let low = 0;
    let high = block[offset + COUNT]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = block[heads + middle]!;
      if (other < head || (other === head && this.#table.compareKey(block[slots + middle]!, key) < 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Splits a full leaf into which `key` shall go at position `at`; returns the half that it belongs to. */
  #splitLeaf(leaf: number, at: number, key: Uint8Array): number {
    const right = this.#newLeaf();
    const atEdge = at === NODE_MAX && this.#isRightmost(leaf);
    const kept = atEdge ? NODE_MAX : NODE_MAX >>> 1;
    const source = this.#block(leaf);
    const from = this.#offset(leaf) + SLOTS + kept;
    const target = this.#block(right);
    const to = this.#offset(right) + SLOTS;
    for (let index = 0; index < NODE_MAX - kept; index += 1) {
      const slot = source[from + index]!;
      target[to + index] = slot;
      this.#table.setLeaf(slot, right);
    }
    source[this.#offset(leaf) + COUNT] = kept;
    target[this.#offset(right) + COUNT] = NODE_MAX - kept;
    const separator = (atEdge ? key : this.#table.key(target[to]!)).slice();
    this.#insertChild(leaf, separator, right);
    return compareBytes(key, separator) < 0 ? leaf : right;
  }

  #splitBranch(node: number): void {
    const branch = this.#branch(node);
    const rightNode = this.#newBranch();
    const right = this.#branch(rightNode);
    const middle = this.#isRightmost(node) ? NODE_MAX - 1 : NODE_MAX >>> 1;
    right.children.push(...branch.children.splice(middle));
    right.separators.push(...branch.separators.splice(middle));
    const separator = branch.separators.pop()!;
    for (const child of right.children) this.#setParent(child, rightNode);
    this.#insertChild(node, separator, rightNode);
  }

  /** Puts `right`, cut off from `left`, behind it; splits upward where needed. */
  #insertChild(left: number, separator: Uint8Array, right: number): void {
    let parent = this.#parent(left);
    if (parent === NO_PARENT) {
      parent = this.#newBranch();
      const root = this.#branch(parent);
      root.children.push(left);
      root.live = this.#live(left);
      root.newestMain = this.#newestMain(left);
      this.#setParent(left, parent);
      this.#root = parent;
    }
    const branch = this.#branch(parent);
    const at = branch.children.indexOf(left);
    branch.children.splice(at + 1, 0, right);
    branch.separators.splice(at, 0, separator);
    branch.heads.splice(at, 0, headOf(separator, branch.skip));
    this.#setParent(right, parent);
    this.#refresh(left);
    this.#refresh(right);
    if (branch.children.length > NODE_MAX) this.#splitBranch(parent);
  }

  /** Joins a small node with a neighbour if there is one small enough; a root with one child gives way to it. */
  #join(node: number): void {
    const parent = this.#parent(node);
    if (parent === NO_PARENT) {
      if (node >= 0 || this.#branch(node).children.length > 1) return;
      this.#root = this.#branch(node).children[0]!;
      this.#setParent(this.#root, NO_PARENT);
      this.#freeBranches.push(~node);
      return;
    }
    const branch = this.#branch(parent);
    const at = this.#leftOfPair(branch, node);
    if (at === -1) return;
    const left = branch.children[at]!;
    const right = branch.children[at + 1]!;
    if (left >= 0) this.#absorbLeaf(left, right);
    else this.#absorbBranch(left, branch.separators[at]!, right);
    branch.children.splice(at + 1, 1);
    branch.separators.splice(at, 1);
    branch.heads.splice(at, 1);
    this.#refresh(left);
    if (branch.children.length < NODE_SMALL) this.#join(parent);
  }

  #absorbLeaf(left: number, right: number): void {
    const target = this.#block(left);
    const to = this.#offset(left);
    const source = this.#block(right);
    const from = this.#offset(right);
    const count = target[to + COUNT]!;
    for (let index = 0; index < source[from + COUNT]!; index += 1) {
      const slot = source[from + SLOTS + index]!;
      target[to + SLOTS + count + index] = slot;
      this.#table.setLeaf(slot, left);
    }
    target[to + COUNT] = count + source[from + COUNT]!;
    this.#freeLeaves.push(right);
  }

  #absorbBranch(leftNode: number, separator: Uint8Array, rightNode: number): void {
    const left = this.#branch(leftNode);
    const right = this.#branch(rightNode);
    left.separators.push(separator, ...right.separators);
    left.children.push(...right.children);
    for (const child of right.children) this.#setParent(child, leftNode);
    this.#freeBranches.push(~rightNode);
  }

  /** The neighbours to join, as the position of the left one; -1 when both are too large. Empty nodes always go. */
  #leftOfPair(branch: KeyBranch, node: number): number {
    const { children } = branch;
    const at = children.indexOf(node);
    const size = this.#sizeOf(node);
    const sizeMax = size === 0 ? NODE_MAX : NODE_JOINED_MAX - size;
    if (at + 1 < children.length && this.#sizeOf(children[at + 1]!) <= sizeMax) return at;
    if (at > 0 && this.#sizeOf(children[at - 1]!) <= sizeMax) return at - 1;
    return -1;
  }

  #sizeOf(node: number): number {
    return node >= 0 ? this.#block(node)[this.#offset(node) + COUNT]! : this.#branch(node).children.length;
  }

  #parent(node: number): number {
    return node >= 0 ? this.#block(node)[this.#offset(node) + PARENT]! : this.#branch(node).parent;
  }

  #setParent(node: number, parent: number): void {
    if (node >= 0) this.#block(node)[this.#offset(node) + PARENT] = parent;
    else this.#branch(node).parent = parent;
  }

  #isRightmost(node: number): boolean {
    for (let child = node; ; ) {
      const parent = this.#parent(child);
      if (parent === NO_PARENT) return true;
      if (this.#branch(parent).children.at(-1) !== child) return false;
      child = parent;
    }
  }

  /** Sets what a node derives from its content and its place: counts, skip and heads. */
  #refresh(node: number): void {
    const skip = this.#sharedBytes(node);
    if (node >= 0) {
      this.#refreshLeaf(node, skip);
      return;
    }
    const branch = this.#branch(node);
    branch.skip = skip;
    branch.live = 0;
    branch.newestMain = 0;
    for (const child of branch.children) {
      branch.live += this.#live(child);
      branch.newestMain = Math.max(branch.newestMain, this.#newestMain(child));
    }
    branch.heads.length = 0;
    for (const separator of branch.separators) branch.heads.push(headOf(separator, skip));
  }

  #refreshLeaf(leaf: number, skip: number): void {
    const block = this.#block(leaf);
    const offset = this.#offset(leaf);
    let live = 0;
    let newestMain = 0;
    for (let index = 0; index < block[offset + COUNT]!; index += 1) {
      const slot = block[offset + SLOTS + index]!;
      if (this.#table.live(slot)) live += 1;
      newestMain = Math.max(newestMain, this.#table.newestMain(slot));
      block[offset + HEADS + index] = headOf(this.#table.key(slot), skip);
    }
    block[offset + LIVE] = live;
    block[offset + NEWEST_MAIN] = newestMain;
    block[offset + SKIP] = skip;
  }

  #live(node: number): number {
    return node >= 0 ? this.#block(node)[this.#offset(node) + LIVE]! : this.#branch(node).live;
  }

  #newestMain(node: number): number {
    return node >= 0 ? this.#block(node)[this.#offset(node) + NEWEST_MAIN]! : this.#branch(node).newestMain;
  }

  /** Length of the common prefix of the separators left and right of a node: 0 at the edges of the tree. */
  #sharedBytes(node: number): number {
    let lower: Uint8Array | undefined;
    let upper: Uint8Array | undefined;
    for (let child = node; ; ) {
      const parent = this.#parent(child);
      if (parent === NO_PARENT) return 0;
      const branch = this.#branch(parent);
      const at = branch.children.indexOf(child);
      lower ??= branch.separators[at - 1];
      upper ??= branch.separators[at];
      if (lower !== undefined && upper !== undefined) return commonPrefix(lower, upper);
      child = parent;
    }
  }

  /** Returns false when `visit` has had enough. null bounds are open: the whole node lies inside. */
  #visit(node: number, from: Uint8Array | null, to: Uint8Array | null, visit: (slot: number) => boolean): boolean {
    if (node >= 0) {
      const block = this.#block(node);
      const offset = this.#offset(node);
      const end = to === null ? block[offset + COUNT]! : this.#lowerBound(node, to);
      for (let at = from === null ? 0 : this.#lowerBound(node, from); at < end; at += 1) {
        if (!visit(block[offset + SLOTS + at]!)) return false;
      }
      return true;
    }
    const branch = this.#branch(node);
    const first = from === null ? 0 : childIndex(branch, from);
    const last = to === null ? branch.children.length - 1 : childIndex(branch, to);
    for (let at = first; at <= last; at += 1) {
      if (!this.#visit(branch.children[at]!, at === first ? from : null, at === last ? to : null, visit)) return false;
    }
    return true;
  }

  #count(node: number, from: Uint8Array | null, to: Uint8Array | null, atMain: number): number {
    if (from === null && to === null && this.#newestMain(node) <= atMain) return this.#live(node);
    let count = 0;
    if (node >= 0) {
      const block = this.#block(node);
      const offset = this.#offset(node);
      const end = to === null ? block[offset + COUNT]! : this.#lowerBound(node, to);
      for (let at = from === null ? 0 : this.#lowerBound(node, from); at < end; at += 1) {
        if (this.#table.liveAt(block[offset + SLOTS + at]!, atMain)) count += 1;
      }
      return count;
    }
    const branch = this.#branch(node);
    const first = from === null ? 0 : childIndex(branch, from);
    const last = to === null ? branch.children.length - 1 : childIndex(branch, to);
    for (let at = first; at <= last; at += 1) {
      count += this.#count(branch.children[at]!, at === first ? from : null, at === last ? to : null, atMain);
    }
    return count;
  }

  /** Returns the number of keys below the node, all of which must lie in [lower, upper). */
  #check(node: number, lower: Uint8Array | null, upper: Uint8Array | null): number {
    if (node < 0) return this.#checkBranch(node, lower, upper);
    const block = this.#block(node);
    const offset = this.#offset(node);
    const count = block[offset + COUNT]!;
    let live = 0;
    for (let at = 0; at < count; at += 1) {
      const slot = block[offset + SLOTS + at]!;
      const key = this.#table.key(slot);
      assert(at === 0 || this.#table.compareKey(block[offset + SLOTS + at - 1]!, key) < 0, 'keys ascend');
      assert(lower === null || compareBytes(lower, key) <= 0, 'keys lie above the separator');
      assert(upper === null || compareBytes(key, upper) < 0, 'keys lie below the separator');
      assert(block[offset + HEADS + at] === headOf(key, block[offset + SKIP]!), 'heads are those of the keys');
      assert(this.#table.leaf(slot) === node, 'a slot knows its leaf');
      assert(this.#table.newestMain(slot) <= block[offset + NEWEST_MAIN]!, 'no key is newer than its leaf says');
      if (this.#table.live(slot)) live += 1;
    }
    assert(live === block[offset + LIVE], 'a leaf counts its live keys', { live, counted: block[offset + LIVE] });
    return count;
  }

  #checkBranch(node: number, lower: Uint8Array | null, upper: Uint8Array | null): number {
    const branch = this.#branch(node);
    const last = branch.separators.length;
    assert(branch.children.length === last + 1 && last < NODE_MAX, 'a branch has a separator between children');
    let count = 0;
    let live = 0;
    branch.children.forEach((child, at) => {
      const childLower = at === 0 ? lower : branch.separators[at - 1]!;
      const childUpper = at === last ? upper : branch.separators[at]!;
      assert(this.#parent(child) === node, 'a node knows its parent');
      assert(this.#newestMain(child) <= branch.newestMain, 'no node is newer than its parent says');
      count += this.#check(child, childLower, childUpper);
      live += this.#live(child);
    });
    assert(live === branch.live, 'a branch counts its live keys', { live, counted: branch.live });
    return count;
  }
}
