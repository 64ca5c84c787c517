/**
 * What health checks came to.
 */
import type { HealthCounts } from '../health.js';
import { type Family, scalarFamily } from './text.js';

/** Families of /health, /livez and /readyz. */
export function healthFamilies(counts: HealthCounts): Family[] {
  return [
    scalarFamily('counter', 'etcd_server_health_success', 'Answers of /health that said true.', sink =>
      sink.series([], counts.successes),
    ),
    scalarFamily('counter', 'etcd_server_health_failures', 'Answers of /health that said false.', sink =>
      sink.series([], counts.failures),
    ),
    scalarFamily(
      'gauge',
      'etcd_server_healthcheck',
      'The last result of a check of /livez or /readyz: 1, or 0.',
      sink => {
        for (const { type, name, healthy } of counts.checks())
          sink.series(
            [
              ['type', type],
              ['name', name],
            ],
            healthy ? 1 : 0,
          );
      },
    ),
    scalarFamily('counter', 'etcd_server_healthchecks_total', 'Checks of /livez and /readyz by their result.', sink => {
      for (const { type, name, successes, errors } of counts.checks()) {
        if (successes > 0)
          sink.series(
            [
              ['type', type],
              ['name', name],
              ['status', 'success'],
            ],
            successes,
          );
        if (errors > 0)
          sink.series(
            [
              ['type', type],
              ['name', name],
              ['status', 'error'],
            ],
            errors,
          );
      }
    }),
  ];
}
