/**
 * Ranges of keys and the question that every change asks: which of them hold this key?
 *
 * A balanced (AVL) tree ordered by (from, to). Each node knows the greatest end below it, so that a search leaves out
 * every subtree that ends before the key:
 *
 *          [d, f) ..k                 ".." = the greatest end in the subtree
 *         /         \                 stab('h'): left subtree ends at g: left out;
 *    [a, g) ..g    [e, k) ..k         [d, f) misses, [e, k) holds it
 *
 * A range is [from, to); `to` null means that it has no end. Adding and removing take O(log n).
 *
 * Invariants: heights of siblings differ by at most one; `reach` is the greatest `to` of the subtree.
 */
import { compareBytes } from '../../base/bytes.js';

export class RangeNode<Value> {
  height = 1;
  left: RangeNode<Value> | undefined;
  right: RangeNode<Value> | undefined;
  /** The greatest `to` of this subtree. */
  reach: Uint8Array | null;

  constructor(
    readonly from: Uint8Array,
    readonly to: Uint8Array | null,
    public value: Value,
  ) {
    this.reach = to;
  }
}

type Tree<Value> = RangeNode<Value> | undefined;

export class IntervalTree<Value> {
  #root: Tree<Value>;

  get height(): number {
    return heightOf(this.#root);
  }

  /** The node of exactly this range. */
  find(from: Uint8Array, to: Uint8Array | null): RangeNode<Value> | undefined {
    let node = this.#root;
    while (node !== undefined) {
      const order = compareRanges(from, to, node);
      if (order === 0) return node;
      node = order < 0 ? node.left : node.right;
    }
    return undefined;
  }

  /** Adds a range that is not there. */
  add(from: Uint8Array, to: Uint8Array | null, value: Value): void {
    this.#root = insert(this.#root, new RangeNode(from, to, value));
  }

  /** Removes exactly this range, if it is there. */
  remove(from: Uint8Array, to: Uint8Array | null): void {
    this.#root = erase(this.#root, from, to);
  }

  /** Appends the values of all ranges that hold `key` to `found`. */
  stab(key: Uint8Array, found: Value[]): void {
    collect(this.#root, key, found);
  }
}

function collect<Value>(start: Tree<Value>, key: Uint8Array, found: Value[]): void {
  let node = start;
  while (node !== undefined && endsBehind(node.reach, key)) {
    collect(node.left, key, found);
    if (compareBytes(node.from, key) > 0) return;
    if (endsBehind(node.to, key)) found.push(node.value);
    node = node.right;
  }
}

function endsBehind(end: Uint8Array | null, key: Uint8Array): boolean {
  return end === null || compareBytes(key, end) < 0;
}

function insert<Value>(tree: Tree<Value>, node: RangeNode<Value>): RangeNode<Value> {
  if (tree === undefined) return node;
  if (compareRanges(node.from, node.to, tree) < 0) tree.left = insert(tree.left, node);
  else tree.right = insert(tree.right, node);
  return balance(tree);
}

function erase<Value>(tree: Tree<Value>, from: Uint8Array, to: Uint8Array | null): Tree<Value> {
  if (tree === undefined) return undefined;
  const order = compareRanges(from, to, tree);
  if (order < 0) {
    tree.left = erase(tree.left, from, to);
  } else if (order > 0) {
    tree.right = erase(tree.right, from, to);
  } else {
    if (tree.left === undefined) return tree.right;
    if (tree.right === undefined) return tree.left;
    const next = leftmost(tree.right);
    next.right = withoutLeftmost(tree.right);
    next.left = tree.left;
    return balance(next);
  }
  return balance(tree);
}

function leftmost<Value>(tree: RangeNode<Value>): RangeNode<Value> {
  let node = tree;
  while (node.left !== undefined) node = node.left;
  return node;
}

function withoutLeftmost<Value>(tree: RangeNode<Value>): Tree<Value> {
  if (tree.left === undefined) return tree.right;
  tree.left = withoutLeftmost(tree.left);
  return balance(tree);
}

/** The same subtree with its heights in balance again, after one of them changed by one. */
function balance<Value>(tree: RangeNode<Value>): RangeNode<Value> {
  const lean = heightOf(tree.left) - heightOf(tree.right);
  if (lean > 1) {
    const left = tree.left!;
    if (heightOf(left.left) < heightOf(left.right)) tree.left = rotateLeft(left);
    return rotateRight(tree);
  }
  if (lean < -1) {
    const right = tree.right!;
    if (heightOf(right.right) < heightOf(right.left)) tree.right = rotateRight(right);
    return rotateLeft(tree);
  }
  refresh(tree);
  return tree;
}

function rotateRight<Value>(tree: RangeNode<Value>): RangeNode<Value> {
  const top = tree.left!;
  tree.left = top.right;
  top.right = tree;
  refresh(tree);
  refresh(top);
  return top;
}

function rotateLeft<Value>(tree: RangeNode<Value>): RangeNode<Value> {
  const top = tree.right!;
  tree.right = top.left;
  top.left = tree;
  refresh(tree);
  refresh(top);
  return top;
}

/** Computes what a node knows about its subtree from its children. */
function refresh<Value>(node: RangeNode<Value>): void {
  const { left, right } = node;
  node.height = 1 + Math.max(heightOf(left), heightOf(right));
  let reach = node.to;
  if (left !== undefined) reach = later(reach, left.reach);
  if (right !== undefined) reach = later(reach, right.reach);
  node.reach = reach;
}

function heightOf<Value>(tree: Tree<Value>): number {
  return tree === undefined ? 0 : tree.height;
}

function later(left: Uint8Array | null, right: Uint8Array | null): Uint8Array | null {
  return compareEnds(left, right) >= 0 ? left : right;
}

function compareEnds(left: Uint8Array | null, right: Uint8Array | null): number {
  if (left === null) return right === null ? 0 : 1;
  return right === null ? -1 : compareBytes(left, right);
}

function compareRanges<Value>(from: Uint8Array, to: Uint8Array | null, node: RangeNode<Value>): number {
  return compareBytes(from, node.from) || compareEnds(to, node.to);
}
