/** The configuration's section about feature flags, and what a flags file must be for it. */

import { z } from "zod";
import { isAlwaysOn, sidesOf, type Flag } from "../domain/flag.ts";
import { readFlags } from "../domain/flag-file.ts";
import type { FlagTies } from "../domain/flag-change.ts";
import { name, path } from "./texts.ts";

const key = z.string().min(1).max(200);
const byRoute = z.record(name, z.array(key)).prefault({});

/** Feature flags; left out: there are none. */
export const flags = z
  .strictObject({
    file: path.meta({
      description:
        "the flags, in flagd's format or in the older one with `enabled`; read again when it changes",
      examples: ["./flags.json"],
    }),
    follow: byRoute.meta({
      description:
        "by route: flags that are on for exactly the keys that it sends to the canary, and after a rollback for nobody",
    }),
    after: byRoute.meta({
      description: "by route: flags that are off until a rollout of it has succeeded",
    }),
    critical: z.array(key).prefault([]).meta({
      description:
        "flags that are always on: no rollback touches them, and to switch one off takes force and a reason",
    }),
  })
  .optional()
  .meta({ description: "feature flags for the application, served as OFREP by the admin listener" });

/** The section, where there is one. */
export type FlagsConfig = NonNullable<z.output<typeof flags>>;

/** What is wrong with the section, given the routes that there are. */
export function flagsProblems(
  section: FlagsConfig | undefined,
  routes: ReadonlySet<string>,
): readonly { readonly path: readonly (string | number)[]; readonly message: string }[] {
  if (section === undefined) return [];
  const named = (part: "follow" | "after") =>
    Object.entries(section[part]).flatMap(([route, keys]) =>
      keys.map((each, at) => ({ route, key: each, path: ["flags", part, route, at] })),
    );
  const critical = new Set(section.critical);
  return (["follow", "after"] as const).flatMap((part) => {
    const seen = new Set<string>();
    return [
      ...Object.keys(section[part])
        .filter((route) => !routes.has(route))
        .map((route) => ({ path: ["flags", part, route], message: `there is no route "${route}"` })),
      ...named(part).flatMap(({ key: each, path: at }) => {
        const isTwice = seen.has(each);
        seen.add(each);
        if (isTwice) return [{ path: at, message: `the flag "${each}" is named twice` }];
        if (!critical.has(each)) return [];
        return [{ path: at, message: `the flag "${each}" is critical: it cannot depend on a rollout` }];
      }),
    ];
  });
}

/** What a flag has to do with the routes. */
export function tiesOf(section: FlagsConfig, flag: string): FlagTies {
  const routeIn = (part: "follow" | "after"): string | undefined =>
    Object.entries(section[part]).find(([, keys]) => keys.includes(flag))?.[0];
  return {
    follows: routeIn("follow"),
    opensAfter: routeIn("after"),
    isCritical: section.critical.includes(flag),
  };
}

/** The flags of a file, as `section` needs them. */
export function flagFileSchema(section: Omit<FlagsConfig, "file">) {
  return z.unknown().transform((file, context): ReadonlyMap<string, Flag> => {
    const read = readFlags(file);
    const problems = read.ok ? tieProblems(read.flags, section) : read.problems;
    for (const { path: at, onKey, message } of problems) {
      const plain = { code: "custom" as const, message, path: [], input: undefined };
      const issue = { input: undefined, path: [...at] };
      context.issues.push(
        onKey
          ? { code: "invalid_key", origin: "record", issues: [plain], ...issue }
          : { code: "custom", message, ...issue },
      );
    }
    return read.ok ? read.flags : new Map();
  });
}

function tieProblems(flagsRead: ReadonlyMap<string, Flag>, section: Omit<FlagsConfig, "file">) {
  const problems: { path: (string | number)[]; onKey: boolean; message: string }[] = [];
  const add = (each: string, part: string, message: string): void =>
    void problems.push(
      flagsRead.has(each)
        ? { path: ["flags", each], onKey: true, message: `"${each}" ${message}, for ${part} names it` }
        : { path: ["flags"], onKey: true, message: `there is no flag "${each}", which ${part} names` },
    );
  for (const [route, keys] of Object.entries(section.follow)) {
    for (const each of keys) {
      const flag = flagsRead.get(each);
      if (flag === undefined || sidesOf(flag) === undefined)
        add(each, `flags.follow.${route}`, "must be boolean, or have two variants and a default");
    }
  }
  for (const [route, keys] of Object.entries(section.after))
    for (const each of keys) if (!flagsRead.has(each)) add(each, `flags.after.${route}`, "");
  for (const each of section.critical) {
    const flag = flagsRead.get(each);
    if (flag === undefined || !isAlwaysOn(flag))
      add(each, "flags.critical", "must be enabled and true for everybody");
  }
  return problems;
}
