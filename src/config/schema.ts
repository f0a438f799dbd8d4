/**
 * What the operator may say: the one source of truth for the configuration. Types, defaults, the JSON Schema for editors
 * and `config/reference.md` all come from here.
 *
 * Pure: text in, values out. Secrets stay sources here (`{ env }`, `{ file }`); `load.ts` reads them. Every object is strict,
 * every field has a description, every number has its unit.
 */

import { z } from "zod";
import { accessLog } from "./access-log.ts";
import { backups } from "./backups.ts";
import { bulletins } from "./bulletins.ts";
import { flags, flagsProblems } from "./flags.ts";
import { admin, drain, limits, listen, overload } from "./listen.ts";
import { notify } from "./notify.ts";
import { planSchema } from "./plan.ts";
import { planNamed, planNames } from "./presets.ts";
import { reachProblems } from "./reach.ts";
import { safety } from "./safety.ts";
import { route, type RouteConfig } from "./route.ts";
import type { secret } from "./shape.ts";
import { state } from "./state.ts";
import { cidr, name, path } from "./texts.ts";
import { tracing } from "./tracing.ts";
import { freezes } from "./window.ts";

export type { MirrorConfig, RescueConfig, RouteConfig } from "./route.ts";

/** The whole configuration file. */
export const configSchema = z
  .strictObject({
    listen,
    workers: z
      .union([z.literal("auto"), z.int().min(1).max(256)])
      .default(1)
      .meta({
        description:
          "threads that carry traffic, sharing the port; `auto`: one per core. A change needs a restart",
      }),
    lane: z
      .enum(["auto", "general"])
      .default("auto")
      .meta({ description: "`general` turns the fast lane for plain HTTP/1.1 off" }),
    limits,
    overload,
    admin,
    state,
    reports: path
      .default("./reports")
      .meta({ description: "folder of the reports of rollouts and of evidence packs" }),
    backups,
    environment: name.default("production").meta({ description: "named in reports and notifications" }),
    trustedProxies: z
      .array(cidr)
      .default([])
      .meta({ description: "networks whose X-Forwarded-* fields are believed" }),
    drain,
    safety,
    routes: z.array(route).min(1).meta({ description: "the services in front of which it stands" }),
    freezes,
    plans: z.record(name, planSchema).prefault({}).meta({ description: "plans by name" }),
    notify,
    bulletins,
    flags,
    tracing,
    accessLog,
  })
  .check((context) => {
    const seen = new Set<string>();
    const matches = new Map<string, string>();
    context.value.routes.forEach((each, index) => {
      if (seen.has(each.name)) {
        context.issues.push({
          code: "custom",
          message: `there is another route named "${each.name}"`,
          path: ["routes", index, "name"],
          input: each.name,
        });
      }
      seen.add(each.name);
      const match = `${each.match.host?.toLowerCase() ?? "*"} ${each.match.path}`;
      const other = matches.get(match);
      if (other !== undefined) {
        context.issues.push({
          code: "custom",
          message: `the route "${other}" matches the same host and path`,
          path: ["routes", index, "match"],
          input: each.match,
        });
      }
      matches.set(match, each.name);
      if (typeof each.plan === "string" && planNamed(context.value.plans, each.plan) === undefined) {
        context.issues.push({
          code: "custom",
          message: `there is no plan "${each.plan}"; there are ${planNames(context.value.plans)}`,
          path: ["routes", index, "plan"],
          input: each.plan,
        });
      }
    });
    for (const { path: at, message } of [
      ...reachProblems(context.value),
      ...flagsProblems(context.value.flags, seen),
    ]) {
      context.issues.push({ code: "custom", message, path: [...at], input: context.value });
    }
  });

/** The configuration as validated, with every default in place. */
export type Config = z.output<typeof configSchema>;
/** One arm of a route. */
export type ArmConfig = RouteConfig["stable"];
/** The probes of an arm. */
export type HealthConfig = RouteConfig["health"];
/** Traces, when there are any. */
export type TracingConfig = Exclude<Config["tracing"], "off">;
/** The access log, when there is one. */
export type AccessLogConfig = Exclude<Config["accessLog"], "off">;
/** Where a secret is. */
export type SecretConfig = z.output<typeof secret>;
