/**
 * All interests of a member's watchers, found by the key of a change.
 *
 *   exact keys  a map by the key's bytes         ranges  an interval tree
 *
 * Interests in the same keys with other filters or prev_kv are siblings of the one that is listed.
 *
 * Invariant: an interest is found here exactly as long as it has references.
 */
import { assert } from '../../base/assert.js';
import type { RangeEnd } from '../mvcc/key-index.js';
import { IntervalTree } from './interval-tree.js';
import { Interest } from './watcher.js';

/** Arguments of one call: engines limit their number. */
const CHARACTERS_MAX = 4096;

export class Interests {
  readonly #exact = new Map<string, Interest>();
  readonly #ranges = new IntervalTree<Interest>();

  /** The interest, with one reference more. Keys are copied when it is new. */
  acquire(key: Uint8Array, to: RangeEnd, noPut: boolean, noDelete: boolean, prevKv: boolean): Interest {
    const head = this.#head(key, to);
    let interest = head;
    while (interest !== undefined) {
      if (interest.noPut === noPut && interest.noDelete === noDelete && interest.prevKv === prevKv) break;
      interest = interest.sibling;
    }
    if (interest === undefined) {
      interest = new Interest(key.slice(), to?.slice() ?? to, noPut, noDelete, prevKv);
      if (head === undefined) {
        this.#list(interest);
      } else {
        interest.sibling = head.sibling;
        head.sibling = interest;
      }
    }
    interest.references += 1;
    return interest;
  }

  /** Gives back one reference; the last one ends the interest. */
  release(interest: Interest): void {
    interest.references -= 1;
    if (interest.references > 0) return;
    assert(interest.watchers.length === 0, 'an interest ends after its watchers');
    const head = this.#head(interest.key, interest.to);
    assert(head !== undefined, 'an interest can be found');
    if (head !== interest) {
      let former = head;
      while (former.sibling !== interest) former = former.sibling!;
      former.sibling = interest.sibling;
    } else {
      this.#unlist(interest);
      if (interest.sibling !== undefined) this.#list(interest.sibling);
    }
    interest.sibling = undefined;
  }

  /** Appends all interests that hold `key` to `found`; those with the same keys follow as siblings. */
  find(key: Uint8Array, found: Interest[]): void {
    if (this.#exact.size > 0) {
      const exact = this.#exact.get(nameOf(key));
      if (exact !== undefined) found.push(exact);
    }
    this.#ranges.stab(key, found);
  }

  #head(key: Uint8Array, to: RangeEnd): Interest | undefined {
    return to === undefined ? this.#exact.get(nameOf(key)) : this.#ranges.find(key, to)?.value;
  }

  #list(interest: Interest): void {
    const { key, to } = interest;
    if (to === undefined) this.#exact.set(nameOf(key), interest);
    else this.#ranges.add(key, to, interest);
  }

  #unlist({ key, to }: Interest): void {
    if (to === undefined) this.#exact.delete(nameOf(key));
    else this.#ranges.remove(key, to);
  }
}

/** The bytes as a string of the same length: one character a byte. */
function nameOf(key: Uint8Array): string {
  if (key.length <= CHARACTERS_MAX) return String.fromCharCode.apply(null, key as unknown as number[]);
  let name = '';
  for (let at = 0; at < key.length; at += CHARACTERS_MAX) {
    name += String.fromCharCode.apply(null, key.subarray(at, at + CHARACTERS_MAX) as unknown as number[]);
  }
  return name;
}
