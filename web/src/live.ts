// The connection to the server: beats as they come, and whether they come.

import { beats, type Beat, Refused, Unauthorized } from "./api";

export type State = "connecting" | "live" | "lost" | "locked";
type Listener = (beat: Beat) => void;

/** Waits between two tries. */
const RETRY_MS = [500, 1_000, 2_000, 5_000];

const listeners = new Set<Listener>();
const latest = new Map<string, Beat>();
let told: (state: State, why: string) => void = () => {};

/** Beats for as long as `signal` says. */
export function onBeat(listener: Listener, signal: AbortSignal): void {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

/** The last beat of each cluster. */
export function lastBeats(): Beat[] {
  return [...latest.values()].sort((a, b) => a.cluster.localeCompare(b.cluster));
}

/** Connects, and connects again whenever it is cut. */
export async function stayLive(tell: (state: State, why: string) => void): Promise<void> {
  told = tell;
  told("connecting", "");
  for (let failures = 0; ; failures += 1) {
    try {
      await beats((beat) => {
        failures = 0;
        latest.set(beat.cluster, beat);
        told("live", "");
        for (const listener of listeners) listener(beat);
      }, new AbortController().signal);
      told("lost", "the server ended the connection");
    } catch (error) {
      if (error instanceof Unauthorized) {
        told("locked", error.message);
        return;
      }
      told("lost", error instanceof Refused ? error.message : "the server cannot be reached");
    }
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]!;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
