// The only place that asks the server.

import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Group = Schemas["Group"];
export type OneGroup = Schemas["OneGroup"];
export type Beat = Schemas["Beat"];
export type HistoryAnswer = Schemas["History"];

const TOKEN = "lagline-token";

/** The server wants a token, or another one. */
export class Unauthorized extends Error {}

/** The server said why not. */
export class Refused extends Error {}

type Parameters = Record<string, string | number | boolean | undefined>;

function headers(): HeadersInit {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export function keepToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

function address(path: string, parameters: Parameters): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

async function ask(path: string, parameters: Parameters, signal?: AbortSignal): Promise<Response> {
  const answer = await fetch(address(path, parameters), { headers: headers(), signal: signal ?? null });
  if (answer.status === 401) throw new Unauthorized("the server wants a token");
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(body.message ?? `the server answers ${answer.status}`);
}

export async function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await ask(path, parameters, signal)).json();
}

/** A segment of a path. */
export const segment = encodeURIComponent;

export const api = {
  clusters: (signal?: AbortSignal) => get<Schemas["Clusters"]>("api/v1/clusters", {}, signal),
  groups: (parameters: Parameters, signal?: AbortSignal) =>
    get<Schemas["Groups"]>("api/v1/groups", parameters, signal),
  group: (cluster: string, group: string, signal?: AbortSignal) =>
    get<OneGroup>(`api/v1/groups/${segment(cluster)}/${segment(group)}`, {}, signal),
  topic: (cluster: string, topic: string, signal?: AbortSignal) =>
    get<Schemas["OneTopic"]>(`api/v1/topics/${segment(cluster)}/${segment(topic)}`, {}, signal),
  topics: (parameters: Parameters, signal?: AbortSignal) =>
    get<Schemas["Topics"]>("api/v1/topics", parameters, signal),
  history: (parameters: Parameters, signal?: AbortSignal) =>
    get<HistoryAnswer>("api/v1/history", parameters, signal),
  events: (parameters: Parameters, signal?: AbortSignal) =>
    get<Schemas["Events"]>("api/v1/events", parameters, signal),
  sinks: (signal?: AbortSignal) => get<Schemas["Sinks"]>("api/v1/sinks", {}, signal),
};

/**
 * Reads the stream of beats until it ends. Not an EventSource, because that cannot send a token.
 */
export async function beats(each: (beat: Beat) => void, signal: AbortSignal): Promise<void> {
  const answer = await ask("api/v1/stream", {}, signal);
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) each(JSON.parse(data.map((line) => line.slice(5)).join("\n")));
    }
  }
}
