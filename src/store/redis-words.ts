/** Documents and answers of Redis in the words of the store. Pure. */

import type { Saved, StateDocument } from "../engine/ports.ts";
import type { Reply } from "./redis-link.ts";

/** Above 0: `a` is the newer of two. */
export function compared(
  a: { readonly epoch?: number; readonly version: number },
  b: { readonly epoch?: number; readonly version: number },
): number {
  return (a.epoch ?? 0) - (b.epoch ?? 0) || a.version - b.version;
}

/** 0: there is none. */
export function epochOf(document: StateDocument | undefined): number {
  return document?.epoch ?? 0;
}

/** What the shared copy of the journal says of a save: where each route stands. */
export function aboutOf({ savedAt, routes }: StateDocument): string {
  const points = Object.entries(routes).map(([route, { id, phase, step, weight, reason }]) => [
    route,
    { rollout: id, phase, step, weight, reason },
  ]);
  return JSON.stringify({ savedAt, routes: Object.fromEntries(points) });
}

/** A list of an answer; empty for what is none. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The texts of an answer; undefined for each that is not there. */
export function textsOf(reply: Reply): readonly (string | undefined)[] {
  return reply.ok ? listOf(reply.value).map((each) => (typeof each === "string" ? each : undefined)) : [];
}

/** A raise that is refused. */
export function fenced(detail: string): Saved {
  return { ok: false, kind: "fenced", detail };
}

/** A save that may have landed, or not. */
export function unavailable(detail: string): Saved {
  return { ok: false, kind: "unavailable", detail };
}

/** What became of a save, in the words of the script that refused it or of the trouble with it. */
export function refused(what: string, found: number): Saved {
  if (what === "conflict") return { ok: false, kind: "conflict", found };
  if (what === "fenced") return fenced("another replica holds the lease");
  return unavailable(
    what === "lost" ? "the store has lost saves, which are about to be published again" : what,
  );
}
