// The frame of the page: which view is shown, and whether the server is there.

import { keepToken, Unauthorized } from "./api";
import { fill, h } from "./dom";
import { lastBeats, stayLive, type State } from "./live";
import { link, route } from "./route";
import { group } from "./views/group";
import { overview } from "./views/overview";
import { system } from "./views/system";
import { topic } from "./views/topic";

/** Draws into `place` until `signal` ends it. */
export type View = (place: HTMLElement, signal: AbortSignal) => Promise<void>;

const VIEWS: Record<string, (path: string[]) => View | null> = {
  "": () => overview,
  group: ([cluster, name]) => (cluster !== undefined && name !== undefined ? group(cluster, name) : null),
  topic: ([cluster, name]) => (cluster !== undefined && name !== undefined ? topic(cluster, name) : null),
  system: () => system,
};

const main = document.getElementById("main")!;
let shown = new AbortController();

async function show(): Promise<void> {
  shown.abort();
  shown = new AbortController();
  const { path } = route();
  const [name = "", ...rest] = path;
  const view = VIEWS[name]?.(rest);
  for (const anchor of document.querySelectorAll("#nav a")) {
    const is = anchor.getAttribute("href") === link(name === "system" ? ["system"] : []);
    if (is) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (!view) {
    fill(main, h("p", { class: "empty" }, "There is nothing at this address. ", h("a", { href: "#/" }, "Overview")));
    return;
  }
  try {
    await view(main, shown.signal);
  } catch (error) {
    if (shown.signal.aborted) return;
    if (error instanceof Unauthorized) lock();
    else fill(main, h("p", { class: "problem", role: "alert" }, String((error as Error).message)));
  }
}

/** Asks for the token that the server wants. */
function lock(): void {
  const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = h(
    "form",
    {
      class: "token",
      submit: (event) => {
        event.preventDefault();
        keepToken(input.value);
        location.reload();
      },
    },
    h("label", { for: "token" }, "This server wants a token (server.token_file) for reading"),
    input,
    h("button", {}, "Continue"),
  );
  fill(main, form);
  input.focus();
}

function tell(state: State, why: string): void {
  const live = document.getElementById("live")!;
  const loading = lastBeats().find((beat) => beat.phase === "loading");
  const words: Record<State, string> = {
    connecting: "connecting …",
    live: loading ? `${loading.cluster} is loading` : "live",
    lost: `no connection: ${why}; trying again`,
    locked: "locked",
  };
  live.className = `live ${state}`;
  if (live.textContent !== words[state]) live.textContent = words[state];
}

fill(
  document.getElementById("nav")!,
  h("a", { href: link([]) }, "Groups"),
  h("a", { href: link(["system"]) }, "System"),
);
addEventListener("hashchange", () => {
  void show();
  main.focus();
});
void show();
void stayLive(tell);
