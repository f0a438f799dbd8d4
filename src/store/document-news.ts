/**
 * What others are told of a save: what has changed since the document before it. Pure.
 *
 * Nearly always that is a weight, a few times and one message, of rollouts that are some kilobytes long. A server that hands each of a thousand replicas all of it
 * spends its time on memory, and each of them reads and checks what it has. Whoever knows the document before knows by the change all of the new one;
 * anybody else asks for the whole of it.
 */

import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import type { RecordedState, StateDocument } from "../engine/ports.ts";
import { commonChanges, readFrom, writtenOf } from "./document.ts";
import { rolloutAfter, rolloutLater } from "./document-rollout.ts";

type Fields = Readonly<Record<string, unknown>>;
const json = z.custom<Fields>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "no object",
);
const names = z.array(z.string());
/** Fields of an object that have changed, and names of those that are gone. */
const change = z.object({ set: json, unset: names.exactOptional() });
const newsSchema = z.object({
  ...change.shape,
  routes: z.record(z.string(), change),
  gone: names.exactOptional(),
});

/** Without these it is no document. */
const NEEDED = ["format", "version", "savedAt", "routes"];

type Change = z.output<typeof change>;

/** What has changed from `before` to `document`, as text; undefined when only the whole of it can be told. */
export function encodeNews(document: StateDocument, before: StateDocument): string | undefined {
  const [from, to] = [writtenOf(before), writtenOf(document)];
  if (from === undefined || to === undefined) return undefined;
  const { routes: oldRoutes, ...oldRest } = from;
  const { routes, ...rest } = to;
  const changed = Object.entries(routes).flatMap(([name, route]) => {
    const of = changeOf(oldRoutes[name] ?? {}, route);
    return of === undefined ? [] : [[name, of] as const];
  });
  const gone = Object.keys(oldRoutes).filter((name) => routes[name] === undefined);
  return JSON.stringify({
    ...(changeOf(oldRest, rest) ?? { set: {} }),
    routes: Object.fromEntries(changed),
    ...(gone.length === 0 ? {} : { gone }),
  });
}

/** Undefined: they are the same. */
function changeOf(before: object, after: object): Change | undefined {
  const [from, to] = [before as Fields, after as Fields];
  const set = Object.entries(to).filter(
    ([name, value]) => value !== undefined && !isDeepStrictEqual(value, from[name]),
  );
  const unset = Object.keys(from).filter((name) => from[name] !== undefined && to[name] === undefined);
  if (set.length === 0 && unset.length === 0) return undefined;
  return { set: Object.fromEntries(set), ...(unset.length === 0 ? {} : { unset }) };
}

/**
 * The document that `before` has become by what `encodeNews` has told of it; undefined when it is none: then what is known here is not what was changed.
 * As with `decodeFollowed`, what only those who lead need is unpacked when it is asked for.
 */
export function decodeNews(text: string, before: StateDocument): StateDocument | undefined {
  const from = writtenOf(before);
  const news = parsed(text);
  if (from === undefined || news === undefined) return undefined;
  const common = commonChanges.safeParse(news.set);
  if (!common.success || NEEDED.some((name) => news.unset?.includes(name))) return undefined;
  const routes: Record<string, RecordedState> = { ...before.routes };
  const written: Record<string, object> = { ...from.routes };
  for (const name of news.gone ?? []) {
    delete routes[name];
    delete written[name];
  }
  for (const [name, of] of Object.entries(news.routes)) {
    const known = routes[name];
    const route = known === undefined ? wholeOf(of.set) : rolloutAfter(known, of.set, of.unset ?? []);
    if (route === undefined) return undefined;
    routes[name] = route;
    written[name] = applied(written[name] ?? {}, of);
  }
  // The fields of a document, each as it was or checked just now.
  const document = applied(
    { ...before, ...common.data, routes },
    { set: {}, unset: news.unset },
  ) as StateDocument;
  return readFrom({ ...applied(from, news), routes: written }, document);
}

function wholeOf(set: object): RecordedState | undefined {
  const whole = rolloutLater.safeParse(set);
  return whole.success ? whole.data : undefined;
}

function applied(
  before: object,
  { set, unset = [] }: { readonly set: Fields; readonly unset?: readonly string[] | undefined },
): object {
  const after: Record<string, unknown> = { ...before, ...set };
  for (const name of unset) delete after[name];
  return after;
}

function parsed(text: string): z.output<typeof newsSchema> | undefined {
  try {
    return newsSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
