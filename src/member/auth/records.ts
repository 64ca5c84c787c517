/**
 * Users and roles as the state store keeps them: etcd's own messages, under the name's UTF-8 bytes.
 *
 *   auth       authEnabled -> one byte           authRevision -> u64, most significant first
 *   authUsers  name -> authpb.User               roles ascending, password: the bcrypt text
 *   authRoles  name -> authpb.Role               permissions ascending by key
 */
import { compareBytes, readUint64BE, utf8Encode, writeUint64BE } from '../../base/bytes.js';
import { decode, encode, type Message } from '../../wire/schema.js';

export type Permission = Message<'authpb.Permission'>;
export type UserRecord = Message<'authpb.User'>;
export type RoleRecord = Message<'authpb.Role'>;

export const PermissionType = { Read: 0, Write: 1, ReadWrite: 2 } as const;

export const ENABLED_KEY = utf8Encode('authEnabled');
export const REVISION_KEY = utf8Encode('authRevision');

const REVISION_BYTES = 8;

/** In memory of its own: a request's bytes are not the store's to keep. */
export function encodeUser(user: UserRecord): Uint8Array {
  return encode('authpb.User', user).slice();
}

export function decodeUser(value: Uint8Array): UserRecord {
  return decode('authpb.User', value);
}

export function encodeRole(role: RoleRecord): Uint8Array {
  return encode('authpb.Role', role).slice();
}

export function decodeRole(value: Uint8Array): RoleRecord {
  return decode('authpb.Role', value);
}

export function encodeRevision(revision: number): Uint8Array {
  const value = new Uint8Array(REVISION_BYTES);
  writeUint64BE(value, 0, revision);
  return value;
}

/** 0 without one. */
export function decodeRevision(value: Uint8Array | undefined): number {
  return value?.length === REVISION_BYTES ? readUint64BE(value, 0) : 0;
}

/** Go's order of strings: by their bytes. */
export function compareNames(left: string, right: string): number {
  return compareBytes(utf8Encode(left), utf8Encode(right));
}
