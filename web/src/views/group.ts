// One group: why it is as it is, and how it came to be so.

import { api, type HistoryAnswer, type OneGroup, type Schemas } from "../api";
import { chart, type Line } from "../chart";
import { fill, h } from "../dom";
import { ago, count, duration, moment, percent, rate, short, timeLag } from "../format";
import { onBeat } from "../live";
import { link, route, setParameters } from "../route";
import { badge, notes } from "../status";
import { timeline } from "./timeline";
import { range, ranges, zoomTo } from "./range";
import type { View } from "../main";

const FIELDS = "lag,time_lag_s,consume_rate,produce_rate,status_code";
const POINTS = 600;
const EVENTS = 20;

export function group(cluster: string, name: string): View {
  return async (place, signal) => {
    document.title = `${name} – lagline`;
    const head = h("section");
    const charts = h("section", { class: "charts" });
    const partitions = h("section");
    const events = h("section");
    const times = h("div");

    async function current(): Promise<void> {
      const answer = await api.group(cluster, name, signal);
      fill(head, ...header(answer));
      fill(partitions, h("h2", {}, "Partitions"), partitionTable(answer), members(answer));
    }

    async function past(): Promise<void> {
      const now = Date.now();
      const shown = range(now);
      const asked = { cluster, group: name, from: Math.floor(shown.from), to: Math.ceil(shown.to) };
      const [history, changes] = await Promise.all([
        api.history({ ...asked, fields: FIELDS, points: POINTS }, signal),
        api.events({ ...asked, groups_only: false, limit: EVENTS }, signal),
      ]);
      fill(times, ranges(redraw));
      fill(charts, ...drawn(history, shown, redraw));
      fill(events, h("h2", {}, "Status changes"), changeList(changes.events, now));
    }

    const quietly = (work: Promise<unknown>) => void work.catch(() => {});
    const redraw = () => quietly(past());
    await current();
    fill(place, head, times, charts, partitions, events);
    await past();
    let drawnAt = Date.now();
    onBeat((beat) => {
      if (beat.cluster !== cluster || document.hidden) return;
      quietly(current());
      const { from, to, isMoving } = range(Date.now());
      // As often as a point changes.
      if (isMoving && Date.now() - drawnAt > (to - from) / POINTS) {
        drawnAt = Date.now();
        redraw();
      }
    }, signal);
  };
}

function header(of: OneGroup): HTMLElement[] {
  const fact = (label: string, value: string, title = "") =>
    h("div", { class: "fact", title }, h("dt", {}, label), h("dd", {}, value));
  const facts = h(
    "dl",
    { class: "facts" },
    fact("Lag", count(of.lag), of.partitions_unknown > 0 ? `${of.partitions_unknown} partitions are unknown` : ""),
    fact("Time lag", timeLag(of), of.time_lag_error_s ? `± ${duration(of.time_lag_error_s)}` : ""),
    fact("Consumed", rate(of.consume_rate)),
    fact("Produced", rate(of.produce_rate)),
    fact("Caught up in", duration(of.eta_s)),
    fact("Retention used", percent(of.retention_used), "lag as a share of what the log still has"),
    fact("Members", count(of.members)),
    fact("Partitions", count(of.partitions)),
  );
  const title = h("h1", {}, of.group, " ", badge(of.status), ...notes(of));
  const crumb = h("p", { class: "faint" }, h("a", { href: link([]) }, "Groups"), ` / ${of.cluster}`);
  return [crumb, title, explanation(of), facts];
}

/** Why it is so, in two sentences. */
function explanation(of: OneGroup): HTMLElement {
  if (of.status === "OK" && !of.reason) {
    const lag = of.lag === 0 ? "It has read everything." : `It keeps up, with a lag of ${count(of.lag)}.`;
    return h("p", { class: "why" }, lag);
  }
  const bad = of.topics.flatMap((topic) => topic.partitions).filter((partition) => partition.status !== "OK");
  const share = `${count(bad.length)} of ${count(of.partitions)} partitions are not OK.`;
  return h("p", { class: "why" }, `${of.reason ?? ""}${of.reason ? ". " : ""}${bad.length > 0 ? share : ""}`);
}

function drawn(history: HistoryAnswer, shown: { from: number; to: number }, redraw: () => void): HTMLElement[] {
  const points = (field: string) => (history.fields[field] ?? []) as [number, number | null][];
  const line = (field: string, label: string, color: string): Line => ({ label, color, points: points(field) });
  const onZoom = (from: number, to: number) => {
    zoomTo(from, to);
    redraw();
  };
  const options = (title: string, format: (value: number) => string) => ({ title, format, ...shown, onZoom });
  return [
    timeline(points("status_code"), shown),
    chart([line("lag", "lag", "--accent")], options("Lag, records", short)),
    chart([line("time_lag_s", "time lag", "--accent")], options("Time lag", duration)),
    chart(
      [line("produce_rate", "produced", "--produced"), line("consume_rate", "consumed", "--consumed")],
      options("Produced and consumed, records a second", rate),
    ),
  ];
}

type Partition = Schemas["GroupPartition"] & { topic: string };

const COLUMNS: [string, string, (of: Partition) => string | HTMLElement, (of: Partition) => number | string][] = [
  ["topic", "Topic", (of) => of.topic, (of) => of.topic],
  ["partition", "Partition", (of) => count(of.partition), (of) => of.partition],
  ["status", "Status", (of) => badge(of.status), (of) => -of.status_code],
  ["lag", "Lag", (of) => count(of.lag), (of) => -(of.lag ?? -1)],
  ["time_lag", "Time lag", timeLag, (of) => -(of.time_lag_s ?? -1)],
  ["offset", "Committed", (of) => count(of.offset), (of) => -(of.offset ?? -1)],
  ["end", "Log end", (of) => count(of.end_offset), (of) => -(of.end_offset ?? -1)],
  ["consumed", "Consumed", (of) => rate(of.consume_rate), (of) => -(of.consume_rate ?? -1)],
  ["commit", "Last commit", (of) => (of.commit_ms ? ago(of.commit_ms, Date.now()) : "never"), (of) => of.commit_ms ?? 0],
  ["why", "Why", (of) => of.reason ?? "", (of) => of.reason ?? ""],
];

function partitionTable(of: OneGroup): HTMLElement {
  const all: Partition[] = of.topics.flatMap(({ topic, partitions }) => partitions.map((it) => ({ ...it, topic })));
  const body = h("tbody");
  const sort = () => {
    const name = route().parameters.get("by") ?? "status";
    const order = (COLUMNS.find(([column]) => column === name) ?? COLUMNS[2]!)[3];
    all.sort((a, b) => compare(order(a), order(b)) || compare(a.topic, b.topic) || a.partition - b.partition);
    fill(body, ...all.map((it) => h("tr", {}, ...COLUMNS.map(([, , show]) => h("td", {}, show(it))))));
  };
  const heads = COLUMNS.map(([name, label]) => {
    const choose = () => {
      setParameters({ by: name });
      sort();
    };
    return h("th", { scope: "col" }, h("button", { type: "button", class: "sort", click: choose }, label));
  });
  sort();
  const cut = of.is_cut && h("p", { class: "faint" }, "More partitions than are shown here.");
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...heads)), body), cut);
}

function compare(a: number | string, b: number | string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function members(of: OneGroup): HTMLElement {
  if (of.member_list.length === 0) return h("p", { class: "faint" }, "No member is known.");
  const rows = of.member_list.map((it) => h("tr", {}, h("td", {}, it.client_id), h("td", {}, it.client_host), h("td", {}, it.id)));
  const heads = ["Client", "Host", "Member"].map((name) => h("th", { scope: "col" }, name));
  return h("details", {}, h("summary", {}, `${count(of.members)} members`), h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)));
}

function changeList(events: Schemas["Event"][], now: number): HTMLElement {
  if (events.length === 0) return h("p", { class: "empty" }, "none in this time");
  const items = events.map((event) => {
    const place = event.topic === null || event.topic === undefined ? "" : ` ${event.topic}/${event.partition}`;
    const at = h("time", { datetime: new Date(event.beat_ms).toISOString(), title: ago(event.beat_ms, now) }, moment(event.beat_ms));
    return h("li", {}, at, place, " ", badge(event.from), " → ", badge(event.to), ` ${event.reason}`);
  });
  return h("ol", { class: "events" }, ...items);
}
