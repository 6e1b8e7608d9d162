// Statuses: a word, a colour and a shape, so that no colour is needed to tell them apart.

import { h } from "./dom";

const SHAPES: Record<string, string> = {
  OK: "●",
  WARN: "▲",
  ERR: "■",
  STOP: "■",
  STALL: "■",
  REWIND: "■",
  NOTFOUND: "○",
};

export function badge(status: string): HTMLElement {
  const shape = h("span", { "aria-hidden": true }, SHAPES[status] ?? "○");
  return h("span", { class: `status ${status.toLowerCase()}` }, shape, ` ${status}`);
}

/** What makes the status less sure. */
export function notes(group: { stale: boolean; warming: boolean }): HTMLElement[] {
  const found: HTMLElement[] = [];
  if (group.stale) {
    found.push(h("span", { class: "note", title: "Kafka did not answer lately: the status is the last one known" }, "stale"));
  }
  if (group.warming) {
    found.push(h("span", { class: "note", title: "lagline has just started and has not seen enough commits yet" }, "warming"));
  }
  return found;
}
