/**
 * A dashboard's page: Grafana's grid of 24 columns with the panels' titles, each with its drawing.
 */
import type { Dashboard, Panel } from '../../test/support/prometheus.js';
import { drawPanel, escaped, type NamedLine, type Span } from './chart.js';

const page = { width: 1200, side: 8, head: 44 };
const cell = { width: (page.width - 2 * page.side) / 24, height: 31, gap: 6, title: 24 };

/** The lines of a panel, in the order of its queries. */
export type LinesOf = (panel: Panel) => readonly NamedLine[];

/** The page as HTML, and its size in pixels. */
export function dashboardPage(
  dashboard: Dashboard,
  subtitle: string,
  span: Span,
  linesOf: LinesOf,
): { readonly html: string; readonly width: number; readonly height: number } {
  const rows = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const height = Math.ceil(page.head + rows * cell.height + page.side);
  const panels = dashboard.panels.map(panel => (panel.type === 'row' ? headline(panel) : box(panel, span, linesOf)));
  const html = `<!doctype html><meta charset="utf-8"><style>${style}</style>
<header><b>${escaped(dashboard.title)}</b> ${escaped(dashboard.description)} <i>${escaped(subtitle)}</i></header>
${panels.join('\n')}`;
  return { html, width: page.width, height };
}

function headline(panel: Panel): string {
  const { left, top } = placeOf(panel);
  return `<h2 style="left:${left}px;top:${top}px">${escaped(panel.title)}</h2>`;
}

function box(panel: Panel, span: Span, linesOf: LinesOf): string {
  const { left, top, width, height } = placeOf(panel);
  const drawing = drawPanel(panel, linesOf(panel), span, width - 2, height - cell.title - 2);
  const size = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
  return `<section style="${size}"><h3>${escaped(panel.title)}</h3>${drawing}</section>`;
}

function placeOf({ gridPos }: Panel): { left: number; top: number; width: number; height: number } {
  return {
    left: Math.round(page.side + gridPos.x * cell.width + cell.gap / 2),
    top: Math.round(page.head + gridPos.y * cell.height),
    width: Math.round(gridPos.w * cell.width - cell.gap),
    height: gridPos.h * cell.height - cell.gap,
  };
}

const style = `
  body { margin: 0; background: #f4f5f7; color: #24292e; font-family: 'DejaVu Sans', sans-serif; }
  header { position: absolute; left: 14px; top: 14px; font-size: 12px; color: #57606a; white-space: nowrap; }
  header b { font-size: 15px; color: #24292e; margin-right: 8px; }
  header i { font-style: normal; margin-left: 16px; color: #8b949e; }
  h2 { position: absolute; margin: 8px 0 0 2px; font-size: 13px; }
  section { position: absolute; box-sizing: border-box; background: #fff; border: 1px solid #d8dce1; overflow: hidden; }
  h3 { margin: 0; padding: 6px 8px 0; height: ${cell.title - 6}px; font-size: 11px; font-weight: 600;
    white-space: nowrap; overflow: hidden; }
  .mark { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
  section svg { display: block; font-family: 'DejaVu Sans', sans-serif; }
`;
