/**
 * Member and cluster ids, as etcd derives them: the first 8 bytes, big-endian, of a SHA-1 digest.
 *
 *   member, founding    peer URLs sorted and joined without separator, then the cluster token
 *   member, added       the same URLs, no token, then the proposing member's Unix seconds in decimal
 *   cluster             the founding members' ids ascending, 8 bytes big-endian each
 *
 * The same members and token give the same ids on every machine; that is how founding members agree without talking.
 */
import { assert } from '../base/assert.js';
import { readBigUint64BE, utf8Encode, writeBigUint64BE } from '../base/bytes.js';
import { sha1 } from '../base/sha1.js';

/** The ids of a new cluster's members, in the order given, and of the cluster. */
export interface BootstrapIds {
  readonly clusterId: bigint;
  readonly memberIds: readonly bigint[];
}

/** Asserts that no id is 0 and no two members have the same (peer URLs must differ). */
export function bootstrapIds(peerUrlsOfMembers: readonly (readonly string[])[], token: string): BootstrapIds {
  const memberIds = peerUrlsOfMembers.map(peerUrls => foundingMemberId(peerUrls, token));
  assert(!memberIds.includes(0n), 'a member id is 0');
  assert(new Set(memberIds).size === memberIds.length, 'two founding members have the same peer URLs');
  return { clusterId: clusterIdOf(memberIds), memberIds };
}

export function foundingMemberId(peerUrls: readonly string[], token: string): bigint {
  return firstBytesOfDigest(utf8Encode(joined(peerUrls) + token));
}

/** `unixSeconds`: the wall clock of the member that proposes the addition. */
export function addedMemberId(peerUrls: readonly string[], unixSeconds: number): bigint {
  return firstBytesOfDigest(utf8Encode(joined(peerUrls) + unixSeconds.toFixed(0)));
}

export function clusterIdOf(foundingIds: readonly bigint[]): bigint {
  const ascending = [...foundingIds].sort(compareIds);
  const bytes = new Uint8Array(8 * ascending.length);
  for (const [i, id] of ascending.entries()) writeBigUint64BE(bytes, 8 * i, id);
  return firstBytesOfDigest(bytes);
}

/** Lower-case hex without leading zeros: how ids are shown, logged and keyed everywhere. */
export function idToHex(id: bigint): string {
  return id.toString(16);
}

/** Inverse of idToHex; undefined when the text is not a 64-bit hexadecimal number. */
export function idFromHex(hex: string): bigint | undefined {
  return /^[0-9a-f]{1,16}$/i.test(hex) ? BigInt(`0x${hex}`) : undefined;
}

export function compareIds(left: bigint, right: bigint): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function joined(peerUrls: readonly string[]): string {
  return [...peerUrls].sort().join('');
}

function firstBytesOfDigest(message: Uint8Array): bigint {
  return readBigUint64BE(sha1(message), 0);
}
