/** Numbers and times as people read them. Pure; the same forms as on the terminal, with units that no line end parts from their numbers. */

const NONE = "–";

/** @param {number} weight in percent */
export function percent(weight) {
  return `${Number(weight.toFixed(weight < 1 ? 4 : 2))}\u00a0%`;
}

/** @param {number | null} fraction 0…1 */
export function share(fraction) {
  if (fraction === null) return NONE;
  const size = Math.abs(fraction * 100);
  const text = size < 1e-4 || size >= 99.95 ? size.toFixed(0) : size.toPrecision(size < 1 ? 2 : 3);
  return `${fraction < 0 && size >= 1e-4 ? "−" : ""}${text}\u00a0%`;
}

/** @param {number | null} value milliseconds */
export function latency(value) {
  if (value === null) return NONE;
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}\u00a0s`;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}\u00a0ms`;
}

/** @param {number} value per second */
export function rate(value) {
  return value >= 1000 ? count(Math.round(value)) : value.toFixed(value > 0 && value < 10 ? 1 : 0);
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString("en-US");
}

/**
 * Two parts at the most: `1 h 5 min`, `12 s`.
 *
 * @param {number} ms
 */
export function duration(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  /** @type {[number, string][]} */
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0\u00a0s";
  const told = parts.slice(first, first + 2).filter(([value]) => value > 0);
  return told.map(([value, unit]) => `${value}\u00a0${unit}`).join(" ");
}

/** @param {string | number} at */
function time(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

/** @param {string | number} at */
export function moment(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = date.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
  return isToday ? time(at) : `${day}, ${time(at)}`;
}

/**
 * @param {number | null} value
 * @param {"fraction" | "ms" | "count"} unit
 */
export function inUnit(value, unit) {
  if (unit === "fraction") return share(value);
  if (unit === "ms") return latency(value);
  return value === null ? NONE : count(Number(value.toFixed(1)));
}

/**
 * `text` with a capital in front.
 *
 * @param {string} text
 */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * `a, b and c`.
 *
 * @param {readonly string[]} names
 */
export function list(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
