// One topic: who reads it, and how far each is behind.

import { api } from "../api";
import { fill, h } from "../dom";
import { count, rate, timeLag } from "../format";
import { onBeat } from "../live";
import { link } from "../route";
import { badge } from "../status";
import type { View } from "../main";

export function topic(cluster: string, name: string): View {
  return async (place, signal) => {
    document.title = `${name} – lagline`;
    async function load(): Promise<void> {
      const answer = await api.topic(cluster, name, signal);
      const heads = ["Group", "Status", "Lag", "Largest", "Time lag", "Consumed", "Partitions behind"];
      const rows = answer.readers.map((it) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, h("a", { href: link(["group", cluster, it.group]) }, it.group)),
          h("td", {}, badge(it.status)),
          h("td", { class: "number" }, count(it.lag)),
          h("td", { class: "number" }, count(it.max_lag)),
          h("td", { class: "number" }, timeLag(it)),
          h("td", { class: "number" }, rate(it.consume_rate)),
          h("td", { class: "number" }, count(it.partitions_lagging)),
        ),
      );
      const none = h("tr", {}, h("td", { colspan: heads.length, class: "empty" }, "no group reads it"));
      fill(
        place,
        h("p", { class: "faint" }, h("a", { href: link([]) }, "Groups"), ` / ${cluster}`),
        h("h1", {}, name),
        h("p", {}, `${count(answer.partitions)} partitions, ${count(answer.records)} records kept, ${rate(answer.produce_rate)} produced`),
        h("table", {}, h("thead", {}, h("tr", {}, ...heads.map((it) => h("th", { scope: "col" }, it)))), h("tbody", {}, ...(rows.length > 0 ? rows : [none]))),
      );
    }
    await load();
    onBeat((beat) => {
      if (beat.cluster === cluster && !document.hidden) void load().catch(() => {});
    }, signal);
  };
}
