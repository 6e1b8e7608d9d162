// Every group, the worst first.

import { api, type Group, type Schemas } from "../api";
import { sparkline } from "../chart";
import { fill, h } from "../dom";
import { count, duration, short, timeLag } from "../format";
import { onBeat } from "../live";
import { link, route, setParameters } from "../route";
import { badge, notes } from "../status";

/** Rows that are asked for at once. */
const PAGE = 100;
const SPARK_MS = 3_600_000;
const STATUSES = ["OK", "WARN", "ERR"];
const SORTS: [string, string][] = [
  ["worst", "worst first"],
  ["lag", "lag"],
  ["time_lag", "time lag"],
  ["group", "name"],
];

interface Filter {
  search: string;
  status: string;
  cluster: string;
  sort: string;
}

function filter(): Filter {
  const { parameters } = route();
  const text = (name: string) => parameters.get(name) ?? "";
  return { search: text("search"), status: text("status"), cluster: text("cluster"), sort: text("sort") || "worst" };
}

export async function overview(place: HTMLElement, signal: AbortSignal): Promise<void> {
  document.title = "lagline";
  const clusters = h("section", { class: "cards", "aria-label": "Clusters" });
  const total = h("p", { class: "total", role: "status" });
  const rows = h("tbody");
  const more = h("button", { class: "more", hidden: true }, "More");
  const table = h(
    "table",
    { class: "groups" },
    h("thead", {}, h("tr", {}, ...["Group", "Status", "Why", "Lag", "Time lag", "Last hour"].map((name) => h("th", { scope: "col" }, name)))),
    rows,
  );
  const sparks = new Sparks(signal);
  let asked = new AbortController();
  let pages = 1;

  async function load(): Promise<void> {
    asked.abort();
    asked = new AbortController();
    const own = AbortSignal.any([asked.signal, signal]);
    const groups: Group[] = [];
    let cursor: string | undefined;
    let answer: Schemas["Groups"] | undefined;
    for (let page = 0; page < pages; page += 1) {
      const { search, status, cluster, sort } = filter();
      answer = await api.groups({ search, status, cluster, sort, limit: PAGE, cursor }, own);
      groups.push(...answer.groups);
      cursor = answer.next ?? undefined;
      if (cursor === undefined) break;
    }
    if (own.aborted || !answer) return;
    total.textContent = `${count(groups.length)} of ${count(answer.total)} groups`;
    more.hidden = cursor === undefined;
    const empty = h("tr", {}, h("td", { colspan: 6, class: "empty" }, "no group is like this"));
    fill(rows, ...(groups.length > 0 ? groups.map((group) => row(group, sparks)) : [empty]));
  }

  const quietly = (work: Promise<unknown>) => void work.catch(() => {});
  more.addEventListener("click", () => {
    pages += 1;
    quietly(load());
  });
  const answer = await api.clusters(signal);
  fill(clusters, ...answer.clusters.map(card));
  fill(place, clusters, controls(answer.clusters, () => quietly(load())), total, table, more);
  await load();
  onBeat(() => {
    if (document.hidden) return;
    quietly(load());
    quietly(api.clusters(signal).then(({ clusters: all }) => fill(clusters, ...all.map(card))));
  }, signal);
}

function card(cluster: Schemas["Cluster"]): HTMLElement {
  const { groups, progress } = cluster;
  const state = () => {
    if (!cluster.up) return h("p", { class: "problem" }, `unreachable: ${cluster.reason ?? "no answer"}`);
    if (cluster.phase === "running" && groups) {
      const counts: [string, number][] = [["ERR", groups.err], ["WARN", groups.warn], ["OK", groups.ok]];
      const links = counts.map(([status, n]) => {
        const href = link([], { cluster: cluster.cluster, status });
        return h("a", { href, class: n > 0 ? "" : "none" }, badge(status), ` ${count(n)}`);
      });
      return h("p", { class: "counts" }, ...links);
    }
    const share = progress && progress.total > 0 ? Math.floor((100 * progress.read) / progress.total) : 0;
    return h("p", {}, `loading: ${share} % of the commits are read`);
  };
  const facts = `${count(cluster.topics)} topics, ${count(cluster.partitions)} partitions, lag ${short(cluster.lag)}`;
  return h("article", { class: cluster.up ? "card" : "card down" }, h("h2", {}, cluster.cluster), state(), h("p", { class: "faint" }, facts));
}

function controls(clusters: Schemas["Cluster"][], changed: () => void): HTMLElement {
  const now = filter();
  const change = (name: keyof Filter) => (event: Event) => {
    setParameters({ [name]: (event.target as HTMLInputElement | HTMLSelectElement).value });
    changed();
  };
  const choice = (name: keyof Filter, label: string, options: [string, string][]) =>
    h(
      "select",
      { "aria-label": label, change: change(name) },
      ...options.map(([value, text]) => h("option", { value, selected: now[name] === value }, text)),
    );
  const search = h("input", { type: "search", placeholder: "Search groups", "aria-label": "Search groups", value: now.search, input: change("search") });
  const anything = (text: string): [string, string] => ["", text];
  return h(
    "form",
    { class: "controls", role: "search", submit: (event) => event.preventDefault() },
    search,
    choice("status", "Status", [anything("any status"), ...STATUSES.map((it): [string, string] => [it, it])]),
    clusters.length > 1 && choice("cluster", "Cluster", [anything("all clusters"), ...clusters.map(({ cluster }): [string, string] => [cluster, cluster])]),
    choice("sort", "Order", SORTS),
  );
}

function row(group: Group, sparks: Sparks): HTMLElement {
  const name = h("a", { href: link(["group", group.cluster, group.group]) }, group.group);
  const eta = group.eta_s !== null && group.eta_s !== undefined ? ` caught up in ${duration(group.eta_s)}` : "";
  const spark = h("td", { class: "trend" });
  sparks.watch(spark, group);
  return h(
    "tr",
    { "data-group": group.group },
    h("th", { scope: "row" }, name, h("small", { class: "faint" }, ` ${group.cluster}`)),
    h("td", {}, badge(group.status), ...notes(group)),
    h("td", { class: "why" }, `${group.reason ?? ""}${eta}`),
    h("td", { class: "number" }, count(group.lag)),
    h("td", { class: "number" }, timeLag(group)),
    spark,
  );
}

/** The last hour of the groups that are in sight: asked for one after the other, once a minute. */
class Sparks {
  private readonly known = new Map<string, { at: number; drawn: SVGElement }>();
  private readonly places = new Map<string, Element>();
  private readonly wanted = new Map<string, Group>();
  private readonly groups = new WeakMap<Element, Group>();
  private readonly sight: IntersectionObserver;
  private isBusy = false;

  constructor(private readonly signal: AbortSignal) {
    this.sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const group = this.groups.get(target);
        if (!group) continue;
        if (isIntersecting) this.wanted.set(key(group), group);
        else this.wanted.delete(key(group));
      }
      void this.work();
    });
    signal.addEventListener("abort", () => this.sight.disconnect());
  }

  watch(place: Element, group: Group): void {
    const name = key(group);
    const old = this.places.get(name);
    if (old) this.sight.unobserve(old);
    this.places.set(name, place);
    this.groups.set(place, group);
    const known = this.known.get(name);
    if (known) place.append(known.drawn);
    this.sight.observe(place);
  }

  private async work(): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    for (;;) {
      const next = this.wanted.entries().next().value;
      if (!next || this.signal.aborted) break;
      this.wanted.delete(next[0]);
      await this.draw(...next).catch(() => {});
    }
    this.isBusy = false;
  }

  private async draw(name: string, group: Group): Promise<void> {
    const now = Date.now();
    const known = this.known.get(name);
    if (known && now - known.at < 60_000) return;
    const asked = { cluster: group.cluster, group: group.group, fields: "lag", from: now - SPARK_MS, points: 120 };
    const answer = await api.history(asked, this.signal);
    const points = (answer.fields["lag"] ?? []) as [number, number | null][];
    const drawn = sparkline(points, `lag of ${group.group} over the last hour`);
    this.known.set(name, { at: now, drawn });
    this.places.get(name)?.replaceChildren(drawn);
  }
}

function key({ cluster, group }: Group): string {
  return JSON.stringify([cluster, group]);
}
