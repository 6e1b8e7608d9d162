// Statuses over time as a band of colours.

import { h } from "../dom";
import { moment } from "../format";

/** Codes of a group's status, as the catalogue of points has them. */
const WORDS = ["NOTFOUND", "OK", "WARN", "ERR", "STOP", "STALL", "REWIND"];

export function timeline(points: [number, number | null][], shown: { from: number; to: number }): HTMLElement {
  const band = h("div", { class: "band" });
  const span = shown.to - shown.from;
  const percent = (ms: number) => `${((100 * ms) / span).toFixed(3)}%`;
  const spells: { code: number | null; from: number; to: number }[] = [];
  for (const [at, code] of points) {
    const last = spells.at(-1);
    if (last) last.to = at;
    if (!last || last.code !== code) spells.push({ code, from: at, to: at });
  }
  for (const { code, from, to } of spells) {
    if (code === null) continue;
    const word = WORDS[code] ?? "NOTFOUND";
    const spell = h("span", { class: word.toLowerCase(), title: `${word}: ${moment(from)} to ${moment(to)}` });
    spell.style.left = percent(Math.max(0, from - shown.from));
    spell.style.width = percent(Math.max(span / 1000, to - from));
    band.append(spell);
  }
  const words = spells.filter((it) => it.code !== null).map((it) => WORDS[it.code!]);
  band.setAttribute("role", "img");
  band.setAttribute("aria-label", `Statuses in order: ${words.length > 0 ? words.join(", ") : "nothing is known"}`);
  return h("figure", { class: "chart" }, h("figcaption", {}, "Status"), band);
}
