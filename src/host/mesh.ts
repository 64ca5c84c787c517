/**
 * The rings between the members of a running host: one link for each direction of each pair, and one doorbell a member.
 *
 *     join(position, id) ──> links with all who are there   ──> connect(...) to each of them, peers in the newcomer's boot
 *     leave(position)    ──> its links are forgotten        ──> disconnect(position) to the others
 *
 * Positions are handed out once and never again, so that a late word about a removed member cannot mean another one. The
 * links of a pair outlive both threads, and so do their faults: each start of a member attaches to them under a higher
 * incarnation.
 */
import { assert } from '../base/assert.js';
import type { PeerConnection } from '../transport/control.js';
import { createDoorbell, type DoorbellBuffer } from '../transport/doorbell.js';
import { type Faults, LinkFaults } from '../transport/faults.js';
import { createLink, type LinkBuffers } from '../transport/layout.js';

/** Bytes of each ring between two members: room for one full append of the largest request, twice over. */
const peerRingBytes = 8 * 1024 * 1024;

interface Node {
  readonly id: bigint;
  readonly doorbell: DoorbellBuffer;
  /** Links to the others by their positions. */
  readonly to: Map<number, LinkBuffers>;
}

export class Mesh {
  readonly #nodes = new Map<number, Node>();
  /** The parts of a partition, by position. */
  #groups = new Map<number, number>();
  #nextPosition = 0;

  /** Takes a member in and returns its position. */
  join(id: bigint): number {
    const position = this.#nextPosition;
    this.#nextPosition += 1;
    const node: Node = { id, doorbell: createDoorbell(), to: new Map() };
    for (const [other, { to }] of this.#nodes) {
      node.to.set(other, createLink(peerRingBytes));
      to.set(position, createLink(peerRingBytes));
    }
    this.#nodes.set(position, node);
    this.#cut();
    return position;
  }

  leave(position: number): void {
    this.#nodes.delete(position);
    for (const { to } of this.#nodes.values()) to.delete(position);
  }

  doorbell(position: number): DoorbellBuffer {
    return this.#node(position).doorbell;
  }

  /** The ways from the member at `position` to every other member of now. */
  peersOf(position: number): PeerConnection[] {
    return [...this.#nodes.keys()].filter(other => other !== position).map(other => this.between(position, other));
  }

  /** The way from the member at `position` to the one at `other`. */
  between(position: number, other: number): PeerConnection {
    const [node, peer] = [this.#node(position), this.#node(other)];
    const toPeer = node.to.get(other);
    const fromPeer = peer.to.get(position);
    assert(toPeer !== undefined && fromPeer !== undefined, 'every two members have links', { position, other });
    return { position: other, id: peer.id, doorbell: peer.doorbell, fromPeer, toPeer };
  }

  /**
   * Cuts the links between members of different groups and no others. Who is in none, now or later, is together with all
   * others that are in none.
   */
  partition(groups: readonly (readonly number[])[]): void {
    this.#groups = new Map(groups.flatMap((group, at) => group.map(position => [position, at])));
    this.#cut();
  }

  /** Ends partitions and every other fault. */
  heal(): void {
    this.#groups.clear();
    for (const { to } of this.#nodes.values()) for (const link of to.values()) new LinkFaults(link).set({});
  }

  /** Sets the faults of the way from one member to another. */
  disturb(from: number, to: number, faults: Partial<Faults>): void {
    new LinkFaults(this.between(from, to).toPeer).set(faults);
  }

  #cut(): void {
    for (const [position, { to }] of this.#nodes) {
      for (const [other, link] of to) {
        const faults = new LinkFaults(link);
        faults.set({ ...faults.get(), cut: this.#groups.get(position) !== this.#groups.get(other) });
      }
    }
  }

  #node(position: number): Node {
    const node = this.#nodes.get(position);
    assert(node !== undefined, 'a member that left has no links', { position });
    return node;
  }
}
