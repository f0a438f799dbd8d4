/** Whether a reader prefers one of two media types, by the Accept field. Pure. */

/** Whether `accept` names `type`, and not with a lower preference than `other`. Only what is named counts: wildcards ask for nothing special. */
export function prefers(accept: string, type: string, other: string): boolean {
  const weight = weightOf(accept, type);
  return weight > 0 && weight >= weightOf(accept, other);
}

function weightOf(accept: string, type: string): number {
  for (const part of accept.toLowerCase().split(",")) {
    const [media, ...parameters] = part.split(";").map((each) => each.trim());
    if (media !== type) continue;
    const q = parameters.find((each) => each.startsWith("q="));
    return q === undefined ? 1 : Number(q.slice(2)) || 0;
  }
  return 0;
}
