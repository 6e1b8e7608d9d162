// Lines over time. A gap in the data is a gap in the line.

import uPlot from "uplot";
import { h, svg } from "./dom";
import { clock, moment } from "./format";

export interface Line {
  label: string;
  /** A custom property of the style sheet. */
  color: string;
  points: [number, number | null][];
}

export interface ChartOptions {
  title: string;
  format: (value: number) => string;
  from: number;
  to: number;
  /** The reader has marked a part of the time. */
  onZoom: (from: number, to: number) => void;
}

const HEIGHT = 190;

/** A colour of the style sheet as the canvas understands it: of light and dark the one that is shown. */
function color(name: string): string {
  const probe = h("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** One time axis for all lines: where a line has no point, nothing is drawn and nothing joined. */
function joined(lines: Line[]): uPlot.AlignedData {
  const tables = lines.map((line): uPlot.AlignedData => [
    line.points.map(([at]) => at / 1000),
    line.points.map(([, value]) => value),
  ]);
  const nulls = lines.map(() => [1, 2]);
  return tables.length === 1 ? tables[0]! : uPlot.join(tables, nulls);
}

/** A chart that follows the width of its place. */
export function chart(lines: Line[], options: ChartOptions): HTMLElement {
  const place = h("div", { class: "plot" });
  const figure = h("figure", { class: "chart" }, h("figcaption", {}, options.title), place);
  if (!lines.some((line) => line.points.some(([, value]) => value !== null))) {
    place.append(h("p", { class: "empty" }, "nothing is known for this time"));
    return figure;
  }
  const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
  const plot = new uPlot(
    {
      width: 600,
      height: HEIGHT,
      scales: { x: { range: [options.from / 1000, options.to / 1000] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [
        { ...axis, values: (_, splits) => splits.map((at) => clock(at, options.to - options.from)) },
        { ...axis, size: 84, values: (_, splits) => splits.map((value) => options.format(value)) },
      ],
      series: [
        { value: (_, at) => (at === null ? "" : moment(at * 1000)) },
        ...lines.map((line) => ({
          label: line.label,
          stroke: color(line.color),
          width: 1.5,
          points: { show: false },
          value: (_: uPlot, value: number | null) => (value === null ? "–" : options.format(value)),
        })),
      ],
      cursor: { drag: { x: true, y: false, setScale: false } },
      hooks: {
        setSelect: [
          (self) => {
            if (self.select.width < 4) return;
            const from = self.posToVal(self.select.left, "x") * 1000;
            const to = self.posToVal(self.select.left + self.select.width, "x") * 1000;
            options.onZoom(Math.floor(from), Math.ceil(to));
          },
        ],
      },
    },
    joined(lines),
    place,
  );
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }).observe(place);
  return figure;
}

/** A small line without axes, for a row of a table. */
export function sparkline(points: [number, number | null][], label: string): SVGElement {
  const [width, height] = [120, 24];
  const known = points.filter((point): point is [number, number] => point[1] !== null);
  const from = points[0]?.[0] ?? 0;
  const span = Math.max(1, (points.at(-1)?.[0] ?? 1) - from);
  const top = Math.max(1, ...known.map(([, value]) => value));
  let path = "";
  let pen = "M";
  for (const [at, value] of points) {
    if (value === null) {
      pen = "M";
      continue;
    }
    const x = (((at - from) / span) * width).toFixed(1);
    const y = (height - 2 - (value / top) * (height - 4)).toFixed(1);
    path += `${pen}${x} ${y}`;
    pen = "L";
  }
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 1.2 }),
  );
}
