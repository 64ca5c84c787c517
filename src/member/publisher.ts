/**
 * What a member proposes by itself: its own name and client URLs after every start, the NOSPACE alarm when its quota is
 * used up, and, when it leads, the cluster version (as etcd does): this release's, or the target of a downgrade that is
 * enabled. Each is offered again until it is seen applied.
 */
import { clusterVersion } from '../base/version.js';
import type { MemberIdentity } from '../transport/control.js';
import { encodeInternalRequest, InternalField } from '../wire/internal.js';
import { encode } from '../wire/schema.js';
import type { Applier } from './apply/applier.js';
import type { Members } from './membership/members.js';
import type { Proposals } from './proposals.js';

/** A proposal of the member's own that was lost (leader died) is made again after this long. */
const againMs = 1_000;

/** etcd's monitorVersionInterval. */
const versionCheckMs = 4_000;

/** The member's own proposals have no request of the host behind them. */
export const ownRequest = -1;

interface Wish {
  wanted: boolean;
  askedMs: number;
}

export class Publisher {
  readonly #identity: MemberIdentity;
  readonly #proposals: Proposals;
  readonly #attributes: Wish = { wanted: true, askedMs: Number.NEGATIVE_INFINITY };
  readonly #version: Wish = { wanted: false, askedMs: Number.NEGATIVE_INFINITY };
  readonly #alarm: Wish = { wanted: false, askedMs: Number.NEGATIVE_INFINITY };

  #wantedVersion: string = clusterVersion;
  #versionCheckDueMs = Number.NEGATIVE_INFINITY;

  constructor(identity: MemberIdentity, proposals: Proposals) {
    this.#identity = identity;
    this.#proposals = proposals;
  }

  /** Whether this start's attributes are applied: the member counts as ready then. */
  get published(): boolean {
    return !this.#attributes.wanted;
  }

  /** Makes the proposals that are due. They wait for a leader like any other. `led`: see `leads`. */
  offer(nowMs: number, applier: Applier, led: Members | undefined): void {
    this.#alarm.wanted = applier.wantsNoSpaceAlarm;
    if (this.#due(this.#alarm, nowMs)) this.#propose(InternalField.Alarm, applier.noSpaceRequest(), nowMs);
    if (this.#due(this.#attributes, nowMs)) {
      const { id, name, clientUrls } = this.#identity;
      const request = encode('membershippb.ClusterMemberAttrSetRequest', {
        member_ID: id,
        member_attributes: { name, client_urls: [...clientUrls] },
      });
      this.#propose(InternalField.ClusterMemberAttrSet, request, nowMs);
    }
    this.#checkVersion(nowMs, led);
    if (this.#due(this.#version, nowMs)) {
      const request = encode('membershippb.ClusterVersionSetRequest', { ver: this.#wantedVersion });
      this.#propose(InternalField.ClusterVersionSet, request, nowMs);
    }
  }

  /** This member leads and has committed in its term: it decides the cluster version, now and every few seconds. */
  leads(): void {
    this.#versionCheckDueMs = Number.NEGATIVE_INFINITY;
  }

  /** An entry was applied that may be one of the two; `mine` says whether this start proposed it. */
  applied(field: number, mine: boolean): void {
    if (field === InternalField.ClusterMemberAttrSet && mine) this.#attributes.wanted = false;
    if (field === InternalField.ClusterVersionSet) this.#version.wanted = false;
  }

  #checkVersion(nowMs: number, led: Members | undefined): void {
    if (led === undefined) this.#version.wanted = false;
    else if (nowMs >= this.#versionCheckDueMs) {
      this.#versionCheckDueMs = nowMs + versionCheckMs;
      const { enabled, targetVersion } = led.downgrade;
      this.#wantedVersion = enabled ? targetVersion : clusterVersion;
      this.#version.wanted = led.clusterVersion !== this.#wantedVersion;
    }
  }

  #due(wish: Wish, nowMs: number): boolean {
    if (!wish.wanted || nowMs - wish.askedMs < againMs) return false;
    wish.askedMs = nowMs;
    return true;
  }

  #propose(field: InternalField, request: Uint8Array, nowMs: number): void {
    const counter = this.#proposals.nextCounter();
    const idMember = Number(this.#identity.id & 0xffffn);
    const data = encodeInternalRequest(field, request, idMember, counter);
    this.#proposals.add(counter, data, { requestId: ownRequest, method: 0, startedMs: nowMs });
  }
}
