/**
 * The gRPC series of an endpoint, as go-grpc-prometheus names them.
 *
 * Every method that etcd registers is there from the start, with every code, at 0: `started - handled` has an answer only
 * where both exist. Locks and elections, which etcd registers but does not prepare, appear when they are first used.
 */
import { GrpcCode } from '../../wire/errors.js';
import { Method, type MethodInfo, MethodKind, methods } from '../../wire/methods.js';
import { codesCount, fineHandlingSeconds, type GrpcCounts, handlingSeconds } from '../grpc/counts.js';
import { type Family, histogramFamily, type Labels, scalarFamily } from './text.js';

interface Series {
  readonly slot: number;
  readonly prepared: boolean;
  readonly labels: Labels;
  /** With grpc_code, by code. */
  readonly byCode: readonly Labels[];
  /** `KV/Put` */
  readonly short: string;
}

const typeNames: Readonly<Record<MethodKind, string>> = {
  [MethodKind.Unary]: 'unary',
  [MethodKind.ServerStream]: 'server_stream',
  [MethodKind.Bidirectional]: 'bidi_stream',
};

const codeNames = codeNamesByNumber();

/** Go writes `OK`; the others are named as here. */
function codeNamesByNumber(): string[] {
  const names: string[] = [];
  for (const [name, code] of Object.entries(GrpcCode)) names[code] = name === 'Ok' ? 'OK' : name;
  return names;
}

/** The recipes over other calls. */
const unprepared = new Set(['v3lockpb.Lock', 'v3electionpb.Election']);
const all = methods.map(describe);

function describe({ method, service, name, kind }: MethodInfo): Series {
  const labels: Labels = [
    ['grpc_type', typeNames[kind]],
    ['grpc_service', service],
    ['grpc_method', name],
  ];
  return {
    slot: method,
    prepared: !unprepared.has(service) && method !== Method.HealthList,
    labels,
    byCode: codeNames.map((code): Labels => [...labels, ['grpc_code', code]]),
    short: `${service.slice(service.lastIndexOf('.') + 1)}/${name}`,
  };
}

/** Families of what an endpoint's gRPC calls come to. */
export function grpcFamilies(counts: GrpcCounts): Family[] {
  const byMethod = (name: string, help: string, values: Float64Array): Family =>
    scalarFamily('counter', name, help, sink => {
      for (const { slot, prepared, labels } of all) {
        if (prepared || isUsed(counts, slot)) sink.series(labels, values[slot] as number);
      }
    });
  return [
    byMethod('grpc_server_started_total', 'Calls that began.', counts.started),
    scalarFamily('counter', 'grpc_server_handled_total', 'Calls that ended, by their status.', sink => {
      for (const { slot, prepared, byCode } of all) {
        if (!prepared && !isUsed(counts, slot)) continue;
        byCode.forEach((labels, code) => {
          sink.series(labels, counts.handled[slot * codesCount + code] as number);
        });
      }
    }),
    byMethod('grpc_server_msg_received_total', 'Messages of clients.', counts.received),
    byMethod('grpc_server_msg_sent_total', 'Messages to clients.', counts.sent),
    scalarFamily('counter', 'etcd_network_client_grpc_received_bytes_total', 'Bytes of messages of clients.', sink =>
      sink.series([], counts.receivedBytes),
    ),
    scalarFamily('counter', 'etcd_network_client_grpc_sent_bytes_total', 'Bytes of messages to clients.', sink =>
      sink.series([], counts.sentBytes),
    ),
    scalarFamily('counter', 'etcd_server_client_requests_total', 'Calls by the API version of the client.', sink => {
      for (const [version, [unary, stream]] of counts.requests) {
        const series = (type: string, value: number): void => {
          if (value > 0)
            sink.series(
              [
                ['type', type],
                ['client_api_version', version],
              ],
              value,
            );
        };
        series('unary', unary);
        series('stream', stream);
      }
    }),
    scalarFamily('counter', 'etcd_network_server_stream_failures_total', "Clients' streams that broke.", sink => {
      for (const [key, value] of counts.streamFailures) {
        const [type = '', api = ''] = key.split(' ');
        sink.series(
          [
            ['Type', type],
            ['API', api],
          ],
          value,
        );
      }
    }),
    scalarFamily(
      'counter',
      'etcd_server_learner_promote_successes',
      'Learners promoted by calls to this member.',
      sink => sink.series([], counts.handled[Method.MemberPromote * codesCount] as number),
    ),
    scalarFamily(
      'counter',
      'etcd_server_learner_promote_failures',
      'Promotions of learners that were refused.',
      sink => {
        for (const [reason, value] of counts.promotionFailures) sink.series([['Reason', reason]], value);
      },
    ),
    ...durationFamilies(counts),
  ];
}

/** Only of --metrics extensive. */
function durationFamilies({ durations }: GrpcCounts): Family[] {
  if (durations === undefined) return [];
  return [
    histogramFamily('grpc_server_handling_seconds', 'Calls, from their beginning to their end.', sink => {
      for (const { slot, labels } of all) {
        const official = durations.get(slot)?.official;
        if (official !== undefined) sink.histogram(labels, handlingSeconds, official.counts, official.sum);
      }
    }),
    histogramFamily('kvorum_request_fine_seconds', 'The same of unary calls, from 10 us.', sink => {
      for (const { slot, short, labels } of all) {
        const fine = durations.get(slot)?.fine;
        if (fine === undefined || labels[0]?.[1] !== 'unary') continue;
        sink.histogram([['method', short]], fineHandlingSeconds, fine.counts, fine.sum);
      }
    }),
  ];
}

function isUsed(counts: GrpcCounts, slot: number): boolean {
  return (counts.started[slot] as number) > 0;
}
