/** Many messages as one. Pure. */

import type { Notice } from "../engine/ports.ts";
import { isLouder } from "./interest.ts";

/** Lines of the messages that were held back; a message has 30 at the most. */
const MOST_LINES = 27;

/**
 * What is told in place of `folded`, of which there is at least one.
 *
 * @param pushedOut how many more there were that nobody has kept
 */
export function heldBack(folded: readonly Notice[], pushedOut: number): Notice {
  const [first] = folded as [Notice, ...Notice[]];
  const count = folded.length + pushedOut;
  const summary = `${count} more messages were held back`;
  const rest = count - Math.min(folded.length, MOST_LINES);
  return {
    id: `held:${first.id}`,
    severity: folded.map(({ severity }) => severity).reduce((a, b) => (isLouder(b, a) ? b : a)),
    event: "held_back",
    route: common(folded.map(({ route }) => route)),
    rollout: common(folded.map(({ rollout }) => rollout)),
    summary,
    lines: [
      summary,
      ...folded.slice(0, MOST_LINES).map((notice) => `${notice.severity}: ${notice.summary}`),
      ...(rest > 0 ? [`and ${rest} more`] : []),
    ],
    details: { count },
    audience: first.audience,
  };
}

/** What all have in common; else nothing. */
function common(texts: readonly string[]): string {
  const [first = ""] = texts;
  return texts.every((text) => text === first) ? first : "";
}
