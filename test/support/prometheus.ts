/**
 * A real Prometheus for tests and pictures, and what Grafana asks of it for a dashboard.
 *
 *     dashboards/grafana/dashboards/*.json ──panelsOf──> title, unit, queries ──filled──> PromQL ──HTTP API──> samples
 *
 * It scrapes every second, keeps its data in its own directory, and is gone with the test.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from './etcd.js';
import { packageRoot } from './package-root.js';
import { type ServerProcess, startServer } from './server-process.js';

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One line of a panel: its labels, and seconds and values in the order of time. */
export interface Line {
  readonly metric: Readonly<Record<string, string>>;
  readonly points: readonly (readonly [number, number])[];
}

export interface Alert {
  readonly name: string;
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
}

/** A panel of a dashboard's JSON, as far as somebody else than Grafana needs it. */
export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: FieldDefaults };
  readonly options?: { readonly textMode?: string };
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly legendFormat: string }[];
}

export interface FieldDefaults {
  readonly unit: string;
  readonly min?: number;
  readonly max?: number;
  readonly decimals?: number;
  readonly noValue?: string;
  readonly mappings?: readonly {
    readonly options: Readonly<Record<string, { readonly text: string; readonly color: string }>>;
  }[];
  readonly thresholds: { readonly steps: readonly { readonly color: string; readonly value: number | null }[] };
  readonly custom?: {
    readonly stacking?: { readonly mode: string };
    readonly thresholdsStyle?: { readonly mode: string };
  };
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly templating: { readonly list: readonly { readonly name: string }[] };
  readonly panels: readonly Panel[];
}

const dashboardFolder = join(packageRoot, 'dashboards', 'grafana', 'dashboards');

/** The dashboards of the package by file name. */
export function readDashboards(): Map<string, Dashboard> {
  const names = readdirSync(dashboardFolder).sort();
  return new Map(names.map(name => [name, JSON.parse(readFileSync(join(dashboardFolder, name), 'utf8')) as Dashboard]));
}

/** What Grafana puts in for its variables. The windows are short: they must be full soon after the start. */
export function filled(expression: string, instance: string): string {
  return expression
    .replaceAll('$job', 'etcd')
    .replaceAll('$instance', instance)
    .replaceAll('$__rate_interval', '5s')
    .replaceAll('$__range', '1m');
}

/** Runs promtool and resolves with its exit code and everything it printed. */
export function promtool(args: readonly string[], input?: string): Promise<{ code: number; text: string }> {
  return new Promise(resolve => {
    const child = execFile('promtool', args, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), text: stdout + stderr }),
    );
    child.stdin?.end(input);
  });
}

export class Prometheus {
  readonly #url: string;
  readonly #server: ServerProcess;

  private constructor(url: string, server: ServerProcess) {
    this.#url = url;
    this.#server = server;
  }

  /** Starts on what `kvorum dashboards` wrote to `directory`, with every interval there made a second. */
  static async start(directory: string): Promise<Prometheus> {
    const config = join(directory, 'prometheus', 'prometheus.yml');
    writeFileSync(config, readFileSync(config, 'utf8').replaceAll(/_interval: \d+s/g, '_interval: 1s'));
    const [port] = await freePorts(1);
    const flags = [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ];
    const ready = (line: string) => line.includes('Server is ready to receive web requests') || undefined;
    const { server } = await startServer('prometheus', 'prometheus', flags, ready);
    return new Prometheus(`http://127.0.0.1:${port}`, server);
  }

  /** The expression now. Rejects with Prometheus' own words when it is not valid. */
  async query(expression: string): Promise<Sample[]> {
    const data = await this.#ask<{ result: { metric: Sample['metric']; value: [number, string] }[] }>('query', {
      query: expression,
    });
    return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
  }

  /** The expression over time, every `step` seconds; from and to are Unix seconds. */
  async range(expression: string, from: number, to: number, step: number): Promise<Line[]> {
    const parameters = { query: expression, start: String(from), end: String(to), step: String(step) };
    const data = await this.#ask<{ result: { metric: Sample['metric']; values: [number, string][] }[] }>(
      'query_range',
      parameters,
    );
    return data.result.map(({ metric, values }) => ({
      metric,
      points: values.map(([seconds, value]) => [seconds, Number(value)] as const),
    }));
  }

  /** Alerts that are pending or firing. */
  async alerts(): Promise<Alert[]> {
    const data = await this.#ask<{ alerts: { labels: Record<string, string>; state: Alert['state'] }[] }>('alerts', {});
    return data.alerts.map(({ labels, state }) => ({ name: labels.alertname ?? '', state, labels }));
  }

  end(): Promise<void> {
    return this.#server.end();
  }

  async #ask<Data>(path: string, parameters: Record<string, string>): Promise<Data> {
    const response = await fetch(`${this.#url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = (await response.json()) as { status: string; error?: string; data: Data };
    if (answer.status !== 'success') throw new Error(`${answer.error}: ${parameters.query}`);
    return answer.data;
  }
}
