/** Which route a request is for, held to the plain reading of the rule: the first fitting host, then the longest fitting path. */

import fc from "fast-check";
import t from "tap";
import type { RouteConfig } from "../../src/config/schema.ts";
import { routeTable } from "../../src/proxy/match.ts";

interface Rule {
  readonly host: string | undefined;
  readonly path: string;
}

const route = ({ host, path }: Rule, name: number) => ({
  name,
  // The matcher reads nothing else of it.
  config: { match: { ...(host === undefined ? {} : { host }), path } } as RouteConfig,
});

const segment = fc.constantFrom("a", "b", "ab", "a.b");
const path = fc
  .tuple(fc.array(segment, { maxLength: 4 }), fc.boolean())
  .map(([segments, slash]) => `/${segments.join("/")}${slash && segments.length > 0 ? "/" : ""}`);
const host = fc.constantFrom("x.example", "y.x.example", "*.example", "*.x.example", undefined);
const asked = fc.constantFrom(
  "x.example",
  "X.Example:80",
  "y.x.example",
  "z.y.x.example",
  "other",
  "[::1]:80",
  "",
);

/** `/api` covers `/api` and `/api/x`, not `/apis`. */
function isUnder(target: string, prefix: string): boolean {
  const bare = prefix.replace(/\/$/, "");
  return target === bare || target.startsWith(`${bare}/`);
}

/** The rule, read slowly. */
function slowly(rules: readonly Rule[], askedHost: string, target: string): number {
  const name = askedHost.replace(/:\d*$/, "").toLowerCase();
  const fits = (rule: Rule): number => {
    if (rule.host === undefined) return 0;
    if (!rule.host.startsWith("*.")) return rule.host === name ? 1000 : -1;
    const suffix = rule.host.slice(1);
    return name.endsWith(suffix) && name.length > suffix.length ? suffix.length : -1;
  };
  const order = rules
    .map((rule, index) => ({ rule, index, rank: fits(rule) }))
    .filter(({ rule, rank }) => rank >= 0 && isUnder(target.split("?")[0]!, rule.path))
    .sort((a, b) => b.rank - a.rank || b.rule.path.length - a.rule.path.length || a.index - b.index);
  return order[0]?.index ?? -1;
}

t.test(
  "the route is that of the first fitting host with the longest fitting path, whatever was asked before (reliability 6)",
  async () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ host, path }), { maxLength: 12 }),
        fc.array(fc.tuple(asked, path, fc.constantFrom("", "?", "?q=/a/b")), { minLength: 1, maxLength: 6 }),
        (rules, questions) => {
          const table = routeTable(rules.map(route));
          return questions.every(
            ([name, target, query]) =>
              (table.match(name, target + query)?.name ?? -1) === slowly(rules, name, target + query),
          );
        },
      ),
      { numRuns: 2000 },
    );
  },
);
