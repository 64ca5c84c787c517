/**
 * Faults of the network between the members of a cluster, as its user names them: by member.
 *
 *     partition([a])            a | all the others
 *     partition([a], [b, c])    a | b c | all the others
 *     disturb(a, b, faults)     the way from a to b, not the way back
 *     heal                      nothing of all that
 *
 * What a partition cuts is what Raft and the forwarding of requests use; clients reach every member all the time.
 */
import type { Faults } from '../transport/faults.js';
import { StartError } from './data-directory.js';
import type { Mesh } from './mesh.js';
import type { ClusterMember, Supervised } from './supervised.js';

export type { Faults } from '../transport/faults.js';

export class Partitions {
  readonly #mesh: Mesh;
  readonly #members: readonly Supervised[];

  constructor(mesh: Mesh, members: readonly Supervised[]) {
    this.#mesh = mesh;
    this.#members = members;
  }

  /** Throws StartError when a member is in two groups, or is none. */
  partition(groups: readonly (readonly ClusterMember[])[]): void {
    const positions = groups.map(group => group.map(member => this.#positionOf(member)));
    const all = positions.flat();
    if (new Set(all).size < all.length) throw new StartError('a member can only be in one group of a partition');
    this.#mesh.partition(positions);
  }

  /** Throws StartError. */
  disturb(from: ClusterMember, to: ClusterMember, faults: Partial<Faults>): void {
    const [sender, receiver] = [this.#positionOf(from), this.#positionOf(to)];
    if (sender === receiver) throw new StartError('a member has no link to itself; name two members');
    for (const name of ['dropPermille', 'duplicatePermille', 'reorderPermille'] as const) {
      const { [name]: value = 0 } = faults;
      if (Number.isInteger(value) && value >= 0 && value <= 1_000) continue;
      throw new StartError(`${name} is a whole number from 0 to 1000, not ${value}`);
    }
    const { delayMsMin = 0, delayMsMax = delayMsMin } = faults;
    if (
      !(Number.isInteger(delayMsMin) && Number.isInteger(delayMsMax) && 0 <= delayMsMin && delayMsMin <= delayMsMax)
    ) {
      throw new StartError(`delayMsMin and delayMsMax are whole milliseconds, not ${delayMsMin} and ${delayMsMax}`);
    }
    this.#mesh.disturb(sender, receiver, { ...faults, delayMsMin, delayMsMax });
  }

  heal(): void {
    this.#mesh.heal();
  }

  #positionOf(member: ClusterMember): number {
    const seated = this.#members.find(other => other === member);
    if (seated === undefined) throw new StartError(`member ${member.name} is none of this cluster, or was removed`);
    return seated.handle.position;
  }
}
