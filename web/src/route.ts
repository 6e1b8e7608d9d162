// What is looked at stands in the address: `#/group/CLUSTER/GROUP?range=6h`.

export interface Route {
  /** Decoded parts of the path; none for the overview. */
  path: string[];
  parameters: URLSearchParams;
}

export function route(hash = location.hash): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter((part) => part !== "");
  return { path: parts.map(decoded), parameters: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a view. Parameters that are empty are left out. */
export function link(path: string[], parameters: Record<string, string | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value);
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Changes parameters of the view that is shown, without a step in the browser's history. */
export function setParameters(changes: Record<string, string | undefined>): void {
  const { path, parameters } = route();
  const all: Record<string, string | undefined> = { ...Object.fromEntries(parameters), ...changes };
  history.replaceState(null, "", link(path, all));
}
