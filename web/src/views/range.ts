// The time that charts show. In the address: `range=6h`, or `from` and `to` in Unix milliseconds.

import { h } from "../dom";
import { route, setParameters } from "../route";

const RANGES: [string, number][] = [
  ["1h", 3_600_000],
  ["6h", 6 * 3_600_000],
  ["24h", 24 * 3_600_000],
  ["7d", 7 * 86_400_000],
  ["30d", 30 * 86_400_000],
  ["90d", 90 * 86_400_000],
];

export interface Range {
  from: number;
  to: number;
  /** It ends now, and moves on. */
  isMoving: boolean;
}

export function range(now: number): Range {
  const { parameters } = route();
  const [from, to] = [Number(parameters.get("from")), Number(parameters.get("to"))];
  if (from > 0 && to > from) return { from, to, isMoving: false };
  const asked = parameters.get("range");
  const [, length] = RANGES.find(([name]) => name === asked) ?? RANGES[0]!;
  return { from: now - length, to: now, isMoving: true };
}

export function zoomTo(from: number, to: number): void {
  setParameters({ from: String(from), to: String(to), range: undefined });
}

/** Buttons for the usual times. */
export function ranges(changed: () => void): HTMLElement {
  const { parameters } = route();
  const buttons = RANGES.map(([name]) => {
    const isPressed = !parameters.has("from") && (parameters.get("range") ?? "1h") === name;
    const choose = () => {
      setParameters({ range: name, from: undefined, to: undefined });
      changed();
    };
    return h("button", { type: "button", "aria-pressed": String(isPressed), click: choose }, name);
  });
  return h("div", { class: "ranges", role: "group", "aria-label": "Time" }, ...buttons);
}
