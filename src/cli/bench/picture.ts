/**
 * The report as a picture: throughput and latency against the number of clients, a line for each target.
 *
 * Plain SVG without scripts or fonts of its own. The clients are on a logarithmic axis; so is latency, whose p50 is
 * a line and whose p99 a dashed one.
 */
import type { BenchReport } from './report.js';

const width = 900;
const height = 420;
const plot = { top: 70, bottom: 350, leftWidth: 330 } as const;
const leftEdges = [80, 530] as const;
const colours = ['#2563eb', '#d97706'] as const;

interface Line {
  readonly colour: string;
  readonly isDashed: boolean;
  readonly points: readonly (readonly [clients: number, value: number])[];
}

/** An SVG document. */
export function drawPicture({ plan, targets, outcomes, cpus, node, kvorum }: BenchReport): string {
  const of = (at: number, isDashed: boolean, value: (outcome: (typeof outcomes)[number]) => number): Line => ({
    ...{ colour: colours[at] as string, isDashed },
    points: outcomes.filter(({ target }) => target === targets[at]?.name).map(one => [one.clients, value(one)]),
  });
  const throughput = targets.map((_, at) => of(at, false, ({ perSecond }) => perSecond));
  const latency = targets.flatMap((_, at) => [
    of(at, false, ({ latencyMs }) => latencyMs.p50),
    of(at, true, ({ latencyMs }) => latencyMs.p99),
  ]);
  const unit = plan.operation.startsWith('watch') ? 'events a second' : 'calls a second';
  const legend = targets.map(({ name }, at) =>
    text(80 + at * 260, 46, name, { colour: colours[at] as string, isBold: true }),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(80, 26, `kvorum bench ${plan.operation}`, { isBold: true }),
    ...legend,
    ...chart(leftEdges[0], unit, throughput, false),
    ...chart(leftEdges[1], 'latency, ms: p50 (line), p99 (dashed)', latency, true),
    text(80, height - 14, `kvorum ${kvorum}, Node ${node}, ${cpus} CPUs, ${plan.valueBytes}-byte values`, {
      colour: '#6b7280',
    }),
    '</svg>',
    '',
  ].join('\n');
}

function chart(left: number, title: string, lines: readonly Line[], isLogarithmic: boolean): string[] {
  const clients = [...new Set(lines.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const values = lines.flatMap(({ points }) => points.map(([, y]) => y)).filter(value => value > 0);
  const ticks = isLogarithmic ? powersAround(values) : roundSteps(Math.max(...values, 1));
  const [low, high] = [ticks[0] as number, ticks.at(-1) as number];
  const scale = (value: number): number => (isLogarithmic ? Math.log10(Math.max(value, low)) : value);
  const y = (value: number): number =>
    plot.bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low) || 1)) * (plot.bottom - plot.top);
  const [first, last] = [Math.log10(clients[0] ?? 1), Math.log10(clients.at(-1) ?? 1)];
  const x = (count: number): number =>
    last === first ? left + plot.leftWidth / 2 : left + ((Math.log10(count) - first) / (last - first)) * plot.leftWidth;
  return [
    text(left, plot.top - 8, title, { colour: '#374151' }),
    ...ticks.map(tick => `<path d="M${left} ${y(tick)}h${plot.leftWidth}" stroke="#e5e7eb"/>`),
    ...ticks.map(tick => text(left - 6, y(tick) + 4, short(tick), { colour: '#6b7280', anchor: 'end' })),
    ...clients.map(count => text(x(count), plot.bottom + 18, short(count), { colour: '#6b7280', anchor: 'middle' })),
    text(left + plot.leftWidth / 2, plot.bottom + 36, 'clients', { colour: '#6b7280', anchor: 'middle' }),
    ...lines.flatMap(({ colour, isDashed, points }) => [
      `<polyline fill="none" stroke="${colour}" stroke-width="2"${isDashed ? ' stroke-dasharray="5 4"' : ''} ` +
        `points="${points.map(([count, value]) => `${x(count).toFixed(1)},${y(value).toFixed(1)}`).join(' ')}"/>`,
      ...points.map(
        ([count, value]) => `<circle cx="${x(count).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3" fill="${colour}"/>`,
      ),
    ]),
  ];
}

/** From 0 to a round number at or above `most`, in four or five steps. */
function roundSteps(most: number): number[] {
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size * 5 >= most) as number;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, at) => at * step);
}

/** Powers of ten that hold all values between them. */
function powersAround(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values, 1e-3))));
  return Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(Number(value.toPrecision(3)));
}

interface TextStyle {
  readonly colour?: string;
  readonly anchor?: 'middle' | 'end';
  readonly isBold?: boolean;
}

function text(x: number, y: number, words: string, { colour = '#111827', anchor, isBold }: TextStyle): string {
  const attributes = `${anchor === undefined ? '' : ` text-anchor="${anchor}"`}${isBold ? ' font-weight="bold"' : ''}`;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="${colour}"${attributes}>${escaped(words)}</text>`;
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
