// lagline itself: clusters, sinks.

import { api, type Schemas } from "../api";
import { fill, h } from "../dom";
import { ago, count, duration } from "../format";
import { onBeat } from "../live";

export async function system(place: HTMLElement, signal: AbortSignal): Promise<void> {
  document.title = "System – lagline";
  async function load(): Promise<void> {
    const [clusters, sinks] = await Promise.all([api.clusters(signal), api.sinks(signal)]);
    fill(place, h("h1", {}, "System"), h("h2", {}, "Clusters"), clusterTable(clusters.clusters), h("h2", {}, "Sinks"), sinkTable(sinks.sinks));
  }
  await load();
  onBeat(() => {
    if (!document.hidden) void load().catch(() => {});
  }, signal);
}

function table(heads: string[], rows: (string | Node)[][], empty: string): HTMLElement {
  const body = rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))));
  const none = h("tr", {}, h("td", { colspan: heads.length, class: "empty" }, empty));
  const head = h("tr", {}, ...heads.map((it) => h("th", { scope: "col" }, it)));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...(body.length > 0 ? body : [none]))));
}

function clusterTable(clusters: Schemas["Cluster"][]): HTMLElement {
  const heads = ["Cluster", "State", "Brokers", "Last beat", "Evaluated in", "Behind on commits", "Clock of Kafka", "Starts again"];
  const rows = clusters.map((it) => [
    it.cluster,
    it.up ? it.phase : `unreachable: ${it.reason ?? ""}`,
    count(it.brokers),
    it.beat_ms ? ago(it.beat_ms, Date.now()) : "none yet",
    it.evaluate_ms === null || it.evaluate_ms === undefined ? "–" : `${it.evaluate_ms.toFixed(1)} ms`,
    count(it.reader_lag),
    it.clock_offset_ms === null || it.clock_offset_ms === undefined ? "–" : `${it.clock_offset_ms} ms`,
    count(it.restarts),
  ]);
  return table(heads, rows, "no cluster is configured");
}

function sinkTable(sinks: Schemas["Sink"][]): HTMLElement {
  const heads = ["Sink", "Kind", "State", "Delivered", "Waiting", "Oldest waits", "Refused", "Too old", "Holes", "Dead letters"];
  const rows = sinks.map((it) => [
    it.sink,
    it.kind,
    it.reason ? `${it.state}: ${it.reason}` : it.state,
    count(it.delivered),
    count(it.waiting),
    duration(it.oldest_waiting_s),
    count(it.rejected),
    count(it.expired),
    count(it.holes.filter((hole) => !hole.filled_ms).length),
    count(it.dead_letters),
  ]);
  return table(heads, rows, "no sink is configured: lagline keeps its own history only");
}
