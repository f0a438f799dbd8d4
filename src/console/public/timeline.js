/** What happened, as the journal tells it, newest first. */

/** @import { JournalLine } from "../../engine/ports.ts" */
import { h, icon } from "./dom.js";
import { moment, percent } from "./format.js";
import { eventWords, toneOfEvent } from "./words.js";

const SHOWN = 8;
/** @param {string} event @returns {import("./dom.js").Icon} */
function iconOf(event) {
  if (event.includes("GATE")) return "key";
  if (event.includes("PAUSED")) return "hold";
  return toneOfEvent(event);
}

/**
 * @param {readonly JournalLine[] | undefined} journal
 * @param {boolean} isWhole
 * @param {() => void} onMore
 */
export function timeline(journal, isWhole, onMore) {
  const lines = [...(journal ?? [])].reverse();
  const shown = isWhole ? lines : lines.slice(0, SHOWN);
  return h(
    "section",
    { key: "timeline", class: "card last", "aria-labelledby": "timeline-title" },
    h("h2", { id: "timeline-title" }, "Timeline"),
    lines.length === 0
      ? h(
          "p",
          { class: "empty" },
          journal === undefined ? "Reading the journal…" : "Nothing has happened yet.",
        )
      : h("ol", { class: "timeline" }, ...shown.map(entry)),
    shown.length < lines.length
      ? h("button", { type: "button", class: "button quiet", on: { click: onMore } }, "Show more")
      : null,
  );
}

/** @param {JournalLine} line */
function entry({ seq, at, event, actor, reason, before, after }) {
  const tone = toneOfEvent(event);
  const moved = before.weight === after.weight ? "" : `${percent(before.weight)} → ${percent(after.weight)}`;
  return h(
    "li",
    { key: String(seq), class: `tone-${tone}` },
    icon(iconOf(event)),
    h("time", { datetime: at }, moment(at)),
    h("strong", null, eventWords(event)),
    moved === "" ? null : h("span", { class: "moved" }, moved),
    h("span", { class: "who" }, actor === "sluice" ? "by itself" : `by ${actor}`),
    reason === "" || /^[\d.]+% to [\d.]+%$/.test(reason) ? null : h("p", { class: "why" }, reason),
  );
}
