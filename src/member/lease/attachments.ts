/**
 * Which keys hang on which lease: what the newest record of every key that exists says, and nothing else.
 *
 *     lease id ──> group ──> slots of its keys        a key is a number here, its slot in the key index
 *     slot     ──> group
 *
 * Both directions follow the records alone, whether or not the lease exists: a restored store may hold keys of leases
 * that are gone, and members must not come apart over who has been restarted since. Such keys hang on the next lease
 * of that id, on every member.
 *
 * Most leases hold one key, so a group begins with a number and becomes a set when a second key comes.
 *
 * Invariants (V10): the two directions are inverse; a slot is in at most one group (L5); no group is empty.
 */
import { assert } from '../../base/assert.js';

interface Group {
  readonly id: bigint;
  slots: number | Set<number>;
}

export class Attachments {
  readonly #groups = new Map<bigint, Group>();
  readonly #groupOf = new Map<number, Group>();

  /** Hangs a key on a lease and takes it off the one it hung on; 0n only takes it off. */
  attach(slot: number, id: bigint): void {
    if (id === 0n && this.#groupOf.size === 0) return;
    const former = this.#groupOf.get(slot);
    if (former !== undefined) {
      if (former.id === id) return;
      this.#leave(former, slot);
    }
    if (id !== 0n) this.#join(slot, id);
  }

  /** The slots of a lease's keys, in no order; the caller's. */
  slotsOf(id: bigint): number[] {
    const slots = this.#groups.get(id)?.slots;
    if (slots === undefined) return [];
    return typeof slots === 'number' ? [slots] : [...slots];
  }

  /** Asserts the invariants, for tests. */
  check(): void {
    let count = 0;
    for (const [id, group] of this.#groups) {
      const slots = this.slotsOf(id);
      assert(group.id === id && id !== 0n && slots.length > 0, 'a group has its id and a key', { id });
      for (const slot of slots) assert(this.#groupOf.get(slot) === group, 'both directions agree', { id, slot });
      count += slots.length;
    }
    assert(count === this.#groupOf.size, 'every attached key is in a group', { count, size: this.#groupOf.size });
  }

  #join(slot: number, id: bigint): void {
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = { id, slots: slot };
      this.#groups.set(id, group);
    } else if (typeof group.slots === 'number') {
      group.slots = new Set([group.slots, slot]);
    } else {
      group.slots.add(slot);
    }
    this.#groupOf.set(slot, group);
  }

  #leave(group: Group, slot: number): void {
    this.#groupOf.delete(slot);
    const { slots } = group;
    if (typeof slots === 'number' || (slots.delete(slot) && slots.size === 0)) this.#groups.delete(group.id);
  }
}
