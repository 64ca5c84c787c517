/**
 * Seeded random programs about users, roles, permissions and what they allow.
 *
 * A program is a pure function of its seed. It starts from no users but a keeper, whom no program touches and who
 * cleans up afterwards. Names, keys and ranges are few, so that steps meet: roles are deleted while somebody has them,
 * users log in, lose a role, and ask again with the token from before.
 */
import { Prng } from '../../src/base/prng.js';
import type { CallName } from '../support/calls.js';
import type { Message } from '../support/messages.js';

/** One step: who asks what. A login is an Authenticate whose answer `bearer` holds from then on. */
export interface Step {
  readonly bearer: string;
  readonly call: CallName;
  readonly request: Message;
}

export const userNames = ['root', 'ann', 'ben', 'cid', 'dan'] as const;
export const roleNames = ['root', 'one', 'two', 'three', 'four'] as const;
export const programLeases = [0x7101n, 0x7102n] as const;
const keys = ['a', 'b', 'b\0', 'c', 'd', 'd/1', 'd/2', 'e'];
const ends = [undefined, undefined, 'b', 'c', 'd', 'd0', 'e', '\0', '\0'];
const stepsMin = 30;
const stepsMax = 70;
/** Longer ones cannot be hashed. */
const passwordBytesMax = 72;

export function generateProgram(seed: number): Step[] {
  const generator = new Generator(new Prng(seed));
  return generator.program();
}

class Generator {
  readonly #prng: Prng;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  program(): Step[] {
    const count = stepsMin + this.#prng.nextBelow(stepsMax - stepsMin);
    const steps = Array.from({ length: count }, () => this.#step());
    if (this.#chance(0.85)) return [...this.#opening(), ...steps];
    return [
      { bearer: '', call: 'AuthEnable', request: {} },
      { bearer: '', call: 'UserAdd', request: { name: 'root', password: 'root' } },
      { bearer: '', call: 'AuthEnable', request: {} },
      ...steps,
    ];
  }

  /** Most programs begin with auth on and somebody who has a right. */
  #opening(): Step[] {
    const free: (readonly [CallName, Message])[] = [
      ['UserAdd', { name: 'root', password: 'root' }],
      ['UserGrantRole', { user: 'root', role: 'root' }],
      ...roleNames.slice(1, 4).map(name => ['RoleAdd', { name }] as const),
      ...Array.from({ length: 6 }, () => ['RoleGrantPermission', this.#grant()] as const),
      ...userNames.slice(1, 4).map(name => ['UserAdd', { name, password: name }] as const),
      ...Array.from({ length: 5 }, () => ['UserGrantRole', this.#membership('user')] as const),
      ...programLeases.map(ID => ['LeaseGrant', { ID, TTL: 9000n }] as const),
      ['AuthEnable', {}],
    ];
    const steps = free.map(([call, request]) => ({ bearer: '', call, request }));
    const logins = userNames.slice(0, 4).map(name => this.#login(name, name));
    return [...steps, ...logins];
  }

  #step(): Step {
    const dice = this.#prng.nextBelow(100);
    if (dice < 45) return this.#keyStep();
    if (dice < 58) return this.#loginStep();
    return this.#adminStep();
  }

  #loginStep(): Step {
    const user = this.#pick([...userNames, 'root', 'nobody', '']);
    return this.#login(user, this.#chance(0.85) ? user : this.#password(user));
  }

  /** Somebody's token of before stays with `<name> before` now and then. */
  #login(name: string, password: string): Step {
    const bearer = this.#chance(0.2) ? `${name} before` : name;
    return { bearer, call: 'Authenticate', request: { name, password } };
  }

  #adminStep(): Step {
    const [call, request] = this.#adminCall();
    return { bearer: this.#chance(0.75) ? 'root' : this.#bearer(), call, request };
  }

  #adminCall(): [CallName, Message] {
    const user = this.#pick(userNames);
    const role = this.#pick(roleNames);
    const dice = this.#prng.nextBelow(100);
    if (dice < 10) return ['UserAdd', this.#newUser(user)];
    if (dice < 16) return ['UserDelete', { name: user }];
    if (dice < 20) return ['UserChangePassword', { name: user, password: this.#password(user) }];
    if (dice < 35) return ['UserGrantRole', this.#membership('user')];
    if (dice < 44) return ['UserRevokeRole', this.#membership('name')];
    if (dice < 50) return ['RoleAdd', { name: this.#chance(0.05) ? '' : role }];
    if (dice < 54) return ['RoleDelete', { role }];
    if (dice < 70) return ['RoleGrantPermission', this.#grant()];
    if (dice < 76) return ['RoleRevokePermission', { role, ...this.#range() }];
    if (dice < 80) return ['UserGet', { name: user }];
    if (dice < 84) return ['RoleGet', { role }];
    if (dice < 86) return ['UserList', {}];
    if (dice < 88) return ['RoleList', {}];
    if (dice < 92) return ['AuthStatus', {}];
    return dice < 94 ? ['AuthDisable', {}] : ['AuthEnable', {}];
  }

  #newUser(name: string): Message {
    const dice = this.#prng.nextBelow(20);
    if (dice === 0) return { name: '', password: 'x' };
    if (dice < 3) return { name, options: { no_password: true } };
    if (dice === 3) return { name, password: 'x', options: { no_password: true } };
    return { name, password: this.#password(name) };
  }

  #password(user: string): string {
    const dice = this.#prng.nextBelow(20);
    if (dice === 0) return '';
    if (dice === 1) return 'é'.repeat(passwordBytesMax / 2);
    if (dice === 2) return 'x'.repeat(passwordBytesMax + 1);
    return dice < 16 ? user : `other of ${user}`;
  }

  #membership(field: 'user' | 'name'): Message {
    return { [field]: this.#pick(userNames), role: this.#pick(roleNames) };
  }

  #grant(): Message {
    return { name: this.#pick(roleNames), perm: { permType: this.#prng.nextBelow(3), ...this.#range() } };
  }

  #keyStep(): Step {
    const [call, request] = this.#keyCall();
    return { bearer: this.#bearer(), call, request };
  }

  #keyCall(): [CallName, Message] {
    const dice = this.#prng.nextBelow(100);
    if (dice < 24) return ['Range', { ...this.#range(), serializable: this.#chance(0.5) }];
    if (dice < 44) return ['Put', this.#put()];
    if (dice < 54) return ['DeleteRange', { ...this.#range(), prev_kv: this.#chance(0.5) }];
    if (dice < 74) return ['Txn', this.#txn()];
    if (dice < 80) return ['Watch', { create_request: this.#range() }];
    if (dice < 83) return ['LeaseLeases', {}];
    if (dice < 86) return ['LeaseTimeToLive', { ID: this.#pick(programLeases), keys: this.#chance(0.8) }];
    if (dice < 89) return ['LeaseKeepAlive', { ID: this.#pick(programLeases) }];
    if (dice < 92) return ['LeaseRevoke', { ID: this.#pick(programLeases) }];
    if (dice < 95) return ['LeaseGrant', { ID: this.#pick(programLeases), TTL: 9000n }];
    if (dice < 97) return ['Lock', { name: bytes(`${this.#pick(keys)}/lock`), lease: programLeases[0] }];
    return this.#pick([
      ['MemberList', {}],
      ['Alarm', {}],
      ['Status', {}],
      ['HashKV', {}],
      ['Compact', { revision: 1n << 40n }],
    ]);
  }

  #put(): Message {
    const lease = this.#chance(0.2) ? this.#pick(programLeases) : 0n;
    return { key: bytes(this.#pick(keys)), value: bytes('v'), lease, prev_kv: this.#chance(0.3) };
  }

  /**
   * A transaction that writes has nothing in it that older releases let pass unchecked (transactions within, prev_kv,
   * leases): they would do it, and the stores would go apart. Those stand in a branch that is never taken.
   */
  #txn(): Message {
    const compare = Array.from({ length: this.#prng.nextBelow(2) }, () => this.#compare());
    if (this.#chance(0.5)) return { compare, success: this.#branch(), failure: this.#branch() };
    return { success: this.#reads(), failure: [...this.#reads(), this.#unchecked(0)] };
  }

  #compare(): Message {
    return { ...this.#range(), target: 0, result: this.#prng.nextBelow(3), version: 1n };
  }

  #reads(): Message[] {
    return Array.from({ length: this.#prng.nextBelow(2) }, () => ({ request_range: this.#range() }));
  }

  /** One write at most: keys that are written twice are refused before anybody is asked who wants it. */
  #branch(): Message[] {
    const dice = this.#prng.nextBelow(10);
    if (dice < 4) return [...this.#reads(), { request_put: { ...this.#put(), prev_kv: false, lease: 0n } }];
    const range = { ...this.#range(), prev_kv: this.#chance(0.5) };
    return dice < 7 ? [{ request_delete_range: range }, ...this.#reads()] : this.#reads();
  }

  #unchecked(depth: number): Message {
    if (depth === 2 || this.#chance(0.4)) return { request_put: this.#put() };
    const compare = this.#chance(0.5) ? [this.#compare()] : [];
    const branch = this.#chance(0.5) ? this.#branch() : [this.#unchecked(depth + 1)];
    return { request_txn: this.#chance(0.5) ? { compare, success: branch } : { compare, failure: branch } };
  }

  #range(): Message {
    const end = this.#pick(ends);
    return { key: bytes(this.#pick(keys)), ...(end === undefined ? {} : { range_end: bytes(end) }) };
  }

  #bearer(): string {
    const name = this.#pick([...userNames, 'ann', 'ben', 'cid', '', 'forger']);
    return this.#chance(0.15) ? `${name} before` : name;
  }

  #chance(probability: number): boolean {
    return this.#prng.nextFloat() < probability;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#prng.nextBelow(items.length)]!;
  }
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
