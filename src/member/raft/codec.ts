/**
 * Messages as bytes for the rings between members: our own little-endian format, lean because both ends are this code.
 *
 *     type u8 | flags u8 | to u64 | from u64
 *     varints: term logTerm index commit rejectHint context entryCount
 *     per entry: type u8 | term varint | length varint | data        (index: see below)
 *     with HAS_SNAPSHOT: index, term varints | autoLeave u8 | four lists of ids: count varint, each u64
 *
 * Indexes of entries are not written: in MsgApp they follow message.index, in forwarded proposals they are 0. Numbers
 * are safe integers as LEB128 varints. Records come from this code on the other side of a ring, which delivers them
 * whole: one that does not parse is a broken law.
 */
import { assert, fail } from '../../base/assert.js';
import { NO_ENTRIES } from './raft-log.js';
import { type ConfState, type Entry, type EntryType, type MemberId, type Message, MessageType } from './types.js';

const FLAG_REJECT = 1;
const FLAG_CAMPAIGN_TRANSFER = 2;
const FLAG_SNAPSHOT = 4;
const FLAG_ENTRIES_PLACED = 8;

const FIXED_BYTES = 18;
/** A safe integer needs at most this many bytes as a varint. */
const VARINT_BYTES_MAX = 8;
const HEAD_BYTES_MAX = FIXED_BYTES + 7 * VARINT_BYTES_MAX;
const ENTRY_HEAD_BYTES_MAX = 1 + 2 * VARINT_BYTES_MAX;
const TWO_TO_28 = 2 ** 28;

/** Encodes into a scratch buffer that it keeps and grows. */
export class MessageEncoder {
  #bytes = new Uint8Array(64 * 1024);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  /** The bytes of `message`: a view of the scratch, valid until the next encode. */
  encode(message: Message): Uint8Array {
    this.#at = 0;
    const { entries, snapshot } = message;
    const placed = entries.length > 0 && entries[0]!.index > 0;
    let flags = placed ? FLAG_ENTRIES_PLACED : 0;
    if (message.reject) flags |= FLAG_REJECT;
    if (message.campaignTransfer) flags |= FLAG_CAMPAIGN_TRANSFER;
    if (snapshot !== undefined) flags |= FLAG_SNAPSHOT;
    this.#reserve(HEAD_BYTES_MAX);
    this.#byte(message.type);
    this.#byte(flags);
    this.#id(message.to);
    this.#id(message.from);
    this.#varint(message.term);
    this.#varint(message.logTerm);
    this.#varint(message.index);
    this.#varint(message.commit);
    this.#varint(message.rejectHint);
    this.#varint(message.context);
    this.#varint(entries.length);
    for (let i = 0; i < entries.length; i++) this.#entry(entries[i]!, placed ? message.index + 1 + i : 0);
    if (snapshot !== undefined) {
      this.#reserve(2 * VARINT_BYTES_MAX);
      this.#varint(snapshot.index);
      this.#varint(snapshot.term);
      this.#confState(snapshot.confState);
    }
    return this.#bytes.subarray(0, this.#at);
  }

  #entry(entry: Entry, index: number): void {
    assert(entry.index === index, 'entries of a message are consecutive', { index: entry.index, expected: index });
    const { data } = entry;
    this.#reserve(ENTRY_HEAD_BYTES_MAX + data.length);
    this.#byte(entry.type);
    this.#varint(entry.term);
    this.#varint(data.length);
    this.#bytes.set(data, this.#at);
    this.#at += data.length;
  }

  #confState(confState: ConfState): void {
    this.#reserve(1);
    this.#byte(confState.autoLeave ? 1 : 0);
    this.#ids(confState.voters);
    this.#ids(confState.learners);
    this.#ids(confState.votersOutgoing);
    this.#ids(confState.learnersNext);
  }

  #ids(ids: readonly MemberId[]): void {
    this.#reserve(VARINT_BYTES_MAX + 8 * ids.length);
    this.#varint(ids.length);
    for (const id of ids) this.#id(id);
  }

  #byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  #id(id: MemberId): void {
    this.#view.setBigUint64(this.#at, id, true);
    this.#at += 8;
  }

  /** Seven bits a byte. Bit operations work on 32 bits, so large numbers shed 28 bits at a time by division. */
  #varint(value: number): void {
    let rest = value;
    while (rest >= TWO_TO_28) {
      const low = rest % TWO_TO_28;
      rest = (rest - low) / TWO_TO_28;
      for (let shift = 0; shift < 28; shift += 7) this.#bytes[this.#at++] = ((low >>> shift) & 0x7f) | 0x80;
    }
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/**
 * The message in `bytes`, which may be a view that dies after the call: where there are entries, it is copied once, and
 * their data are parts of that one copy.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  assert(bytes.length >= FIXED_BYTES, 'a message has a head', { bytes: bytes.length });
  const reader = new Reader(bytes);
  const type = messageType(reader.byte());
  const flags = reader.byte();
  const to = reader.id();
  const from = reader.id();
  const term = reader.varint();
  const logTerm = reader.varint();
  const index = reader.varint();
  const commit = reader.varint();
  const rejectHint = reader.varint();
  const context = reader.varint();
  const entryCount = reader.varint();
  const firstIndex = (flags & FLAG_ENTRIES_PLACED) === 0 ? undefined : index + 1;
  const message: Message = {
    type,
    to,
    from,
    term,
    logTerm,
    index,
    entries: entryCount === 0 ? NO_ENTRIES : reader.entries(entryCount, firstIndex),
    commit,
    reject: (flags & FLAG_REJECT) !== 0,
    rejectHint,
    context,
    campaignTransfer: (flags & FLAG_CAMPAIGN_TRANSFER) !== 0,
    snapshot: (flags & FLAG_SNAPSHOT) === 0 ? undefined : reader.snapshot(),
  };
  assert(reader.isAtEnd, 'a message has no tail', { bytes: bytes.length });
  return message;
}

class Reader {
  #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) fail('a message ends early', { bytes: this.#bytes.length });
    return value;
  }

  id(): MemberId {
    const low = this.#uint32();
    const high = this.#uint32();
    for (let i = 0; i < knownIds.length; i++) {
      const known = knownIds[i]!;
      if (known.low === low && known.high === high) return known.id;
    }
    const id = (BigInt(high) << 32n) | BigInt(low);
    if (knownIds.length === KNOWN_IDS_MAX) knownIds.shift();
    knownIds.push({ low, high, id });
    return id;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
    }
    assert(Number.isSafeInteger(value), 'numbers in messages are safe integers');
    return value;
  }

  entries(count: number, firstIndex: number | undefined): readonly Entry[] {
    // The one copy: what is left of the record. `new` and `set`, because slice() of a Buffer would be a view.
    const copy = new Uint8Array(this.#bytes.length - this.#at);
    copy.set(this.#bytes.subarray(this.#at));
    this.#bytes = copy;
    this.#at = 0;
    assert(count <= copy.length, 'a message has as many entries as it says', { count, bytes: copy.length });
    const entries = new Array<Entry>(count);
    for (let i = 0; i < count; i++) {
      const type = entryType(this.byte());
      const term = this.varint();
      const length = this.varint();
      const end = this.#at + length;
      assert(end <= copy.length, 'an entry ends inside its message', { end, bytes: copy.length });
      const index = firstIndex === undefined ? 0 : firstIndex + i;
      entries[i] = { type, term, index, data: new Uint8Array(copy.buffer, this.#at, length) };
      this.#at = end;
    }
    return entries;
  }

  snapshot(): NonNullable<Message['snapshot']> {
    const index = this.varint();
    const term = this.varint();
    const autoLeave = this.byte() !== 0;
    const voters = this.#ids();
    const learners = this.#ids();
    const votersOutgoing = this.#ids();
    const learnersNext = this.#ids();
    return { index, term, confState: { voters, learners, votersOutgoing, learnersNext, autoLeave } };
  }

  #uint32(): number {
    const at = this.#at;
    this.#at += 4;
    const bytes = this.#bytes;
    assert(this.#at <= bytes.length, 'a message ends early', { bytes: bytes.length });
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  }

  #ids(): MemberId[] {
    const count = this.varint();
    const ids: MemberId[] = [];
    for (let i = 0; i < count; i++) ids.push(this.id());
    return ids;
  }
}

/** Ids seen before, newest last: making a bigint costs more than all the rest of a small message's decoding. */
const knownIds: { readonly low: number; readonly high: number; readonly id: MemberId }[] = [];
const KNOWN_IDS_MAX = 16;

const MESSAGE_TYPES: ReadonlySet<number> = new Set(Object.values(MessageType));

function messageType(value: number): MessageType {
  assert(MESSAGE_TYPES.has(value), 'a known message type', { type: value });
  return value as MessageType;
}

function entryType(value: number): EntryType {
  assert(value <= 2, 'a known entry type', { type: value });
  return value as EntryType;
}
