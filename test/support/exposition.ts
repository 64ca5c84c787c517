/**
 * Prometheus' text format, read back: what a /metrics says.
 */

export interface Family {
  readonly type: string;
  /** `name{label="value",…}` as it stands -> value. */
  readonly series: ReadonlyMap<string, number>;
}

/** One scrape, by family. */
export class Exposition {
  readonly families = new Map<string, Family & { readonly series: Map<string, number> }>();

  constructor(text: string) {
    let current = '';
    for (const line of text.split('\n')) {
      const type = /^# TYPE (\S+) (\S+)$/.exec(line);
      if (type !== null) {
        current = type[1] as string;
        this.families.set(current, { type: type[2] as string, series: new Map() });
      } else if (line !== '' && !line.startsWith('#')) {
        const blank = line.lastIndexOf(' ');
        this.families.get(current)?.series.set(line.slice(0, blank), Number(line.slice(blank + 1)));
      }
    }
  }

  /** The value of a series written exactly so; throws without one. */
  value(series: string): number {
    const family = this.families.get(series.split('{')[0] as string) ?? this.#histogramOf(series);
    const value = family?.series.get(series);
    if (value === undefined) throw new Error(`no series ${series}`);
    return value;
  }

  /** The sum over all series of a family. */
  sum(name: string): number {
    return [...(this.families.get(name)?.series.values() ?? [])].reduce((sum, value) => sum + value, 0);
  }

  /** How a family's series are labelled: the names, and the values of `le` as they are spelled. */
  shape(name: string): string {
    const labels = new Set<string>();
    for (const series of this.families.get(name)?.series.keys() ?? []) {
      for (const [, label, value] of series.matchAll(/[{,](\w+)="((?:[^"\\]|\\.)*)"/g)) {
        labels.add(label === 'le' ? `le=${value}` : (label as string));
      }
    }
    return [...labels].sort().join(' ');
  }

  #histogramOf(series: string): Family | undefined {
    return this.families.get((series.split('{')[0] as string).replace(/_(bucket|sum|count)$/, ''));
  }
}

/** Scrapes `http://host:port` + `/metrics`. */
export async function scrape(origin: string): Promise<Exposition> {
  const response = await fetch(`${origin}/metrics`);
  if (!response.ok) throw new Error(`${origin}/metrics answered ${response.status}`);
  return new Exposition(await response.text());
}
