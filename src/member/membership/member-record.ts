/**
 * A member of the cluster, as etcd keeps it: JSON in the members table and in the context of configuration changes.
 *
 *   {"id":<decimal>,"peerURLs":[...],"isLearner":true,"name":"...","clientURLs":[...]}
 *
 * isLearner only when true; name and clientURLs only when not empty. The bytes must be etcd's: ids are 64-bit decimal
 * numbers, and strings escape `<`, `>`, `&` and the two Unicode line separators as Go does.
 */
import { utf8Decode, utf8Encode } from '../../base/bytes.js';

export interface MemberRecord {
  readonly id: bigint;
  /** Empty until the member has published itself: "unstarted". */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/** A configuration change's context: a member, or only the word that a learner is to become a voter. */
export interface ChangeContext {
  readonly member: MemberRecord;
  readonly isPromote: boolean;
}

export function encodeMemberRecord(member: MemberRecord): Uint8Array {
  let json = `{"id":${member.id},"peerURLs":${member.peerUrls.length === 0 ? 'null' : goJson(member.peerUrls)}`;
  if (member.isLearner) json += ',"isLearner":true';
  if (member.name !== '') json += `,"name":${goJson(member.name)}`;
  if (member.clientUrls.length > 0) json += `,"clientURLs":${goJson(member.clientUrls)}`;
  return utf8Encode(`${json}}`);
}

/** The context of a learner's promotion. */
export function encodePromotion(id: bigint): Uint8Array {
  return utf8Encode(`{"id":${id},"peerURLs":null,"isPromote":true}`);
}

/** A stored member or a change's context; undefined when the bytes are neither. */
export function decodeMemberRecord(bytes: Uint8Array): ChangeContext | undefined {
  const text = utf8Decode(bytes);
  if (text === undefined) return undefined;
  let parsed: unknown;
  try {
    // JSON.parse would round the id: hand it over as a string. No escaped quote can stand before a real key's colon.
    parsed = JSON.parse(text.replace(/"id"\s*:\s*(\d+)/, '"id":"$1"'));
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const { id, peerURLs, isLearner, name, clientURLs, isPromote } = parsed as Record<string, unknown>;
  if (typeof id !== 'string') return undefined;
  return {
    member: {
      id: BigInt.asUintN(64, BigInt(id)),
      name: typeof name === 'string' ? name : '',
      peerUrls: strings(peerURLs),
      clientUrls: strings(clientURLs),
      isLearner: isLearner === true,
    },
    isPromote: isPromote === true,
  };
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(element => typeof element === 'string') : [];
}

function goJson(value: string | readonly string[]): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
