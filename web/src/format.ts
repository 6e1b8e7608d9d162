// Numbers and times as people read them. What is unknown is a dash, never a number.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
export const UNKNOWN = "–";

type Maybe = number | null | undefined;

export function count(value: Maybe): string {
  return value === null || value === undefined ? UNKNOWN : WHOLE.format(value);
}

export function short(value: Maybe): string {
  if (value === null || value === undefined) return UNKNOWN;
  return Math.abs(value) < 10_000 ? WHOLE.format(value) : SHORT.format(value);
}

/** Records a second. */
export function rate(value: Maybe): string {
  if (value === null || value === undefined) return UNKNOWN;
  return `${value < 10 ? value.toFixed(1) : short(value)}/s`;
}

export function percent(share: Maybe): string {
  if (share === null || share === undefined) return UNKNOWN;
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

const UNITS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/** Seconds in the two largest units that say something. */
export function duration(seconds: Maybe): string {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const at = UNITS.findIndex(([size]) => seconds >= size);
  const [size, unit] = UNITS[at]!;
  const whole = Math.floor(seconds / size);
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((seconds - whole * size) / next[0]) : 0;
  return whole < 10 && next && rest > 0 ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

/** A time lag: "≥" when it is known to be at least so much. */
export function timeLag(of: { time_lag_s?: Maybe; time_lag_method?: string | null }): string {
  const text = duration(of.time_lag_s);
  return text !== UNKNOWN && of.time_lag_method === "at_least" ? `≥ ${text}` : text;
}

const pad = (value: number) => String(value).padStart(2, "0");

/** Local date and time. */
export function moment(ms: number): string {
  const at = new Date(ms);
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** A mark of a time axis: the time, or the day when the axis is long. */
export function clock(seconds: number, spanMs: number): string {
  const text = moment(seconds * 1000);
  return spanMs > 2 * 86_400_000 ? text.slice(5, 10) : text.slice(11, 16);
}

export function ago(ms: number, now: number): string {
  return `${duration(Math.max(0, (now - ms) / 1000))} ago`;
}
