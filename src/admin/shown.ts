/** What of the configuration may be shown to whoever may read. Pure. */

import { effective } from "../config/load.ts";
import type { Config } from "../config/schema.ts";

/** The effective configuration as whoever may read sees it: the address of a webhook is often all that it takes to post there. */
export function shown(config: Config): Record<string, unknown> {
  // A reviver sees every value, wherever in the file a URL stands.
  return JSON.parse(JSON.stringify(effective(config)), (key, value: unknown) =>
    key === "url" && typeof value === "string" ? withoutPath(value) : value,
  ) as Record<string, unknown>;
}

function withoutPath(text: string): string {
  const url = URL.parse(text);
  if (url === null) return text;
  const isBare = url.pathname === "/" && url.search === "" && url.username === "" && url.password === "";
  return isBare ? text : `${url.origin}/[redacted]`;
}
