/**
 * The schema of every message of etcd's API and log, and the TypeScript types that follow from it.
 *
 * Notation: message -> field name -> [number, type, label?]
 *   type   a scalar, a message, or an enum (a number; open, as in proto3)
 *   label  none            proto3: absent and zero are the same; an embedded message may be absent
 *          'repeated'      one tag a value          'packed'    scalars in one length-delimited field
 *          'always'        proto2 as gogo writes it: written even when zero
 *          'optional'      proto2: written when set
 *          'oneof <name>'  at most one of the oneof's members is present
 *
 * ../schema.ts encodes and decodes by it; nothing hot does (those messages have hand-written codecs, tested against
 * this one).
 */
import { etcdserverpb } from './etcdserverpb.js';
import { packages } from './packages.js';
import { raft } from './raft.js';

export const schema = { ...etcdserverpb, ...packages, ...raft } as const satisfies Record<
  string,
  Record<string, FieldSpec>
>;

export type FieldSpec = readonly [number: number, type: string, label?: string];
export type Schema = typeof schema;
export type MessageName = keyof Schema;

/** Enum -> value name -> number. */
export const enums = {
  'etcdserverpb.AlarmType': { NONE: 0, NOSPACE: 1, CORRUPT: 2 },
  'etcdserverpb.RangeRequest.SortOrder': { NONE: 0, ASCEND: 1, DESCEND: 2 },
  'etcdserverpb.RangeRequest.SortTarget': { KEY: 0, VERSION: 1, CREATE: 2, MOD: 3, VALUE: 4 },
  'etcdserverpb.Compare.CompareResult': { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 },
  'etcdserverpb.Compare.CompareTarget': { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 },
  'etcdserverpb.WatchCreateRequest.FilterType': { NOPUT: 0, NODELETE: 1 },
  'etcdserverpb.AlarmRequest.AlarmAction': { GET: 0, ACTIVATE: 1, DEACTIVATE: 2 },
  'etcdserverpb.DowngradeRequest.DowngradeAction': { VALIDATE: 0, ENABLE: 1, CANCEL: 2 },
  'mvccpb.Event.EventType': { PUT: 0, DELETE: 1 },
  'authpb.Permission.Type': { READ: 0, WRITE: 1, READWRITE: 2 },
  'grpc.health.v1.HealthCheckResponse.ServingStatus': { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 },
  'raftpb.EntryType': { EntryNormal: 0, EntryConfChange: 1, EntryConfChangeV2: 2 },
  'raftpb.ConfChangeType': {
    ConfChangeAddNode: 0,
    ConfChangeRemoveNode: 1,
    ConfChangeUpdateNode: 2,
    ConfChangeAddLearnerNode: 3,
  },
  'raftpb.ConfChangeTransition': {
    ConfChangeTransitionAuto: 0,
    ConfChangeTransitionJointImplicit: 1,
    ConfChangeTransitionJointExplicit: 2,
  },
} as const;

interface Scalars {
  bytes: Uint8Array;
  string: string;
  bool: boolean;
  int64: bigint;
  uint64: bigint;
  int32: number;
  uint32: number;
}

type TypeOf<Type> = Type extends keyof Scalars ? Scalars[Type] : Type extends MessageName ? Message<Type> : number;

type IsList<Field> = Field extends readonly [number, string, 'repeated' | 'packed'] ? true : false;

/** Whether a decoded message always has the field: scalars without presence, lists, always-written messages. */
type IsPresent<Field> = Field extends readonly [number, string, 'repeated' | 'packed' | 'always']
  ? true
  : Field extends readonly [number, string, string]
    ? false
    : Field extends readonly [number, infer Type]
      ? Type extends MessageName
        ? false
        : true
      : never;

type FieldValue<Field> = Field extends readonly [number, infer Type, ...unknown[]]
  ? IsList<Field> extends true
    ? TypeOf<Type>[]
    : TypeOf<Type>
  : never;

type Flatten<Type> = { [Key in keyof Type]: Type[Key] };

/** A decoded message: scalars have proto3's zero values when absent, lists are empty, other fields may be missing. */
export type Message<Name extends MessageName> = Flatten<
  {
    [Key in keyof Schema[Name] as IsPresent<Schema[Name][Key]> extends true ? Key : never]: FieldValue<
      Schema[Name][Key]
    >;
  } & {
    [Key in keyof Schema[Name] as IsPresent<Schema[Name][Key]> extends true ? never : Key]?: FieldValue<
      Schema[Name][Key]
    >;
  }
>;

type InputOf<Type> = Type extends 'int64' | 'uint64'
  ? bigint | number
  : Type extends keyof Scalars
    ? Scalars[Type]
    : Type extends MessageName
      ? MessageInput<Type>
      : number;

/** What may be encoded: every field optional; 64-bit integers as bigint or safe integer. */
export type MessageInput<Name extends MessageName> = {
  readonly [Key in keyof Schema[Name]]?:
    | (Schema[Name][Key] extends readonly [number, infer Type, ...unknown[]]
        ? IsList<Schema[Name][Key]> extends true
          ? readonly InputOf<Type>[]
          : InputOf<Type>
        : never)
    | undefined;
};
