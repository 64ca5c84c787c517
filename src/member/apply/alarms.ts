/**
 * The cluster's alarms: which member raised which, replicated like everything else.
 *
 *   table alarm   key: marshalled AlarmMember, value: empty
 *
 * While an alarm of a type is active on any member, every member applies with the layer of that type (layers.ts).
 */
import { compareBytes, EMPTY_BYTES } from '../../base/bytes.js';
import { decode, encode, type Message } from '../../wire/schema.js';

export const AlarmType = { None: 0, NoSpace: 1, Corrupt: 2 } as const;
export const AlarmAction = { Get: 0, Activate: 1, Deactivate: 2 } as const;

/** `alarm` is any number that a request gave. */
export type AlarmMember = Message<'etcdserverpb.AlarmMember'>;

export interface AlarmStorage {
  put(table: 'alarm', key: Uint8Array, value: Uint8Array): void;
  delete(table: 'alarm', key: Uint8Array): void;
  list(table: 'alarm'): [key: Uint8Array, value: Uint8Array][];
}

export class Alarms {
  readonly #storage: AlarmStorage;
  /** In the order of the table. */
  #active: { readonly key: Uint8Array; readonly member: AlarmMember }[];

  constructor(storage: AlarmStorage) {
    this.#storage = storage;
    this.#active = storage.list('alarm').map(([key]) => ({ key, member: decode('etcdserverpb.AlarmMember', key) }));
  }

  /** The active alarms of a type; AlarmType.None asks for all. */
  list(type: number): AlarmMember[] {
    const members = this.#active.map(({ member }) => member);
    return type === AlarmType.None ? members : members.filter(({ alarm }) => alarm === type);
  }

  has(type: number): boolean {
    return this.#active.some(({ member }) => member.alarm === type);
  }

  isRaised(memberID: bigint, type: number): boolean {
    return this.#active.some(({ member }) => member.memberID === memberID && member.alarm === type);
  }

  /** Raises an alarm; raising it again changes nothing. */
  activate(member: AlarmMember): void {
    if (this.isRaised(member.memberID, member.alarm)) return;
    const key = keyOf(member);
    this.#storage.put('alarm', key, EMPTY_BYTES);
    this.#active = [...this.#active, { key, member }].sort((left, right) => compareBytes(left.key, right.key));
  }

  /** Clears an alarm; false when it was not raised. */
  deactivate(member: AlarmMember): boolean {
    if (!this.isRaised(member.memberID, member.alarm)) return false;
    const key = keyOf(member);
    this.#storage.delete('alarm', key);
    this.#active = this.#active.filter(active => compareBytes(active.key, key) !== 0);
    return true;
  }
}

function keyOf(member: AlarmMember): Uint8Array {
  return encode('etcdserverpb.AlarmMember', member).slice();
}
