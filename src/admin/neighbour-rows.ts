/**
 * The rows that delivery controllers call in a form of theirs: Flagger's webhooks, the two calls of a traffic router and the measurement of a web
 * metric provider of Argo Rollouts. `neighbours.ts` says what they are answered.
 *
 * Their bodies are somebody else's and grow with every release of theirs: what is not known in them is not read, and not refused.
 */

import { z } from "zod";
import { percent, reason, weightOf } from "../config/start.ts";
import { summary as checked } from "../domain/preflight.ts";
import { LONGEST_PREFLIGHT_MS } from "../config/preflight.ts";
import type { RouteStatus } from "../engine/status.ts";
import { answerTo, resultOf, RESULTS, SUMMARIES, summaryOf, type Question } from "./neighbours.ts";
import { noRoute, nothing, problemOf, read, row, type Call, type Reply } from "./row.ts";
import { phase, weight } from "./shapes.ts";

const text = z.string().max(4096);
const payload = z
  .looseObject({
    name: text.optional().meta({ description: "the Canary's name; the route is the one in the path" }),
    namespace: text.optional().meta({ description: "its namespace" }),
    phase: text.optional().meta({ description: "where it is, e.g. Progressing, Succeeded or Failed" }),
    metadata: z.record(text, text).optional().meta({ description: "what its webhook says, or the event" }),
  })
  .meta({ id: "FlaggerPayload", description: "what Flagger posts to a webhook; other fields are not read" });

const told = z
  .strictObject({ go: z.literal(true), words: z.string(), weight, phase })
  .meta({ id: "Go", description: "go on; what does not answer so says why in a problem" });

type Told = z.output<typeof told>;

function toldOf({ weight: now, phase: where }: RouteStatus, words: string): Reply<Told> {
  return { kind: "json", status: 200, body: { go: true, words, weight: now, phase: where } };
}

function held(message: string): Reply<Told> {
  return { kind: "problem", code: "SPLIT_HELD", message };
}

const common = { method: "POST", input: payload, query: nothing, output: told, statuses: [200] } as const;
const pathOf = (kind: string): string => `/v1/rollouts/{route}/hooks/${kind}`;

/** A webhook that asks and changes nothing. */
function asks(kind: Question, summary: string) {
  return row({
    ...common,
    path: pathOf(kind),
    scope: "read",
    isQuestion: true,
    summary,
    handle({ sources, route }: Call<z.output<typeof payload>, unknown>): Reply<Told> {
      const found = sources.control.route(route);
      if (found === undefined) return noRoute();
      const { go, words } = answerTo(kind, found);
      return go ? toldOf(found, words) : held(words);
    },
  });
}

const desired = z
  .looseObject({
    desiredWeight: percent,
    reason: reason.optional().meta({ description: "why; a raise after a rollback needs it" }),
  })
  .meta({ id: "DesiredWeight", description: "a weight as a traffic router is told it" });

const verified = z
  .strictObject({
    desiredWeight: weight,
    weight,
    verified: z.boolean().meta({ description: "the weight is in force" }),
  })
  .meta({ id: "VerifiedWeight", description: "what was wanted, and what is" });

type Verified = z.output<typeof verified>;

function verifiedOf(route: RouteStatus, desiredWeight: number, version?: number): Reply<Verified> {
  const body = { desiredWeight, weight: route.weight, verified: route.weight === desiredWeight };
  return { kind: "json", status: 200, body, ...(version === undefined ? {} : { version }) };
}

const analysis = z
  .strictObject({
    result: z.enum(RESULTS).meta({ description: "Argo's word for the verdict" }),
    words: z.string().meta({ description: "why" }),
    rollout: z.enum(SUMMARIES).meta({ description: "Argo's word for the phase" }),
    phase,
    weight,
  })
  .meta({ id: "Analysis", description: "the verdict as an analysis of Argo Rollouts measures it" });

/** The rows, by operation id. */
export const NEIGHBOUR_ROWS = {
  confirmRollout: asks("confirm-rollout", "Flagger: whether a rollout may begin"),
  preRollout: row({
    ...common,
    path: pathOf("pre-rollout"),
    scope: "operate",
    summary: "Flagger: make the checks before a rollout; nothing is started",
    patienceMs: LONGEST_PREFLIGHT_MS + 5000,
    async handle({ sources, route }): Promise<Reply<Told>> {
      const found = sources.control.route(route);
      if (found === undefined) return noRoute();
      const results = await sources.preflight.run(route, found.arms.canary.version);
      const { passed, sentence } = checked(results);
      return passed ? toldOf(found, sentence) : held(sentence);
    },
  }),
  rolloutHook: asks("rollout", "Flagger: whether no rule has failed"),
  confirmTrafficIncrease: asks("confirm-traffic-increase", "Flagger: whether the weight may rise"),
  confirmPromotion: asks("confirm-promotion", "Flagger: whether the canary may become what runs"),
  rollbackHook: asks("rollback", "Flagger: whether it should roll back, as this route has or would"),
  postRollout: row({
    ...common,
    path: pathOf("post-rollout"),
    scope: "operate",
    summary: "Flagger: it has ended; a canary that has failed there loses its traffic here as well",
    async handle({ sources, route, input, actor }): Promise<Reply<Told>> {
      const found = sources.control.route(route);
      if (found === undefined) return noRoute();
      if (input.phase !== "Failed" || found.weight === 0) return toldOf(found, "taken note of");
      const command = { type: "rollback", reason: "Flagger has failed the canary" } as const;
      const result = await sources.control.command(route, command, actor);
      if (!result.ok) return problemOf(result);
      return toldOf(result.status, "rolled back");
    },
  }),
  eventHook: row({
    ...common,
    path: pathOf("event"),
    scope: "read",
    summary: "Flagger: something has happened; it is in the log, and changes nothing",
    handle({ sources, route }): Reply<Told> {
      const found = sources.control.route(route);
      return found === undefined ? noRoute() : toldOf(found, "taken note of");
    },
  }),
  routerSetWeight: row({
    method: "POST",
    path: "/v1/routes/{route}/set-weight",
    scope: "operate",
    summary: "Argo Rollouts' SetWeight: the same weight again is nothing; raises after a rollback say why",
    input: desired,
    query: nothing,
    output: verified,
    statuses: [200],
    async handle({ sources, route, input, actor, ifVersion }): Promise<Reply<Verified>> {
      const found = sources.control.route(route);
      if (found === undefined) return noRoute();
      const { desiredWeight, reason: why } = input;
      // A controller says the same at every turn of its loop.
      if (found.weight === desiredWeight && ifVersion === undefined) return verifiedOf(found, desiredWeight);
      if (found.phase === "rolled_back" && desiredWeight > found.weight && why === undefined) {
        const message = `${found.reason}: a loop must not raise it again; start anew with a reason`;
        return { kind: "problem", code: "SPLIT_HELD", message };
      }
      const command = {
        type: "set_weight",
        weight: weightOf(desiredWeight),
        force: false,
        reason: why ?? `${actor.name} wants ${desiredWeight} %`,
      } as const;
      const result = await sources.control.command(route, command, actor, ifVersion);
      if (!result.ok) return problemOf(result);
      return verifiedOf(result.status, desiredWeight, result.status.version);
    },
  }),
  routerVerifyWeight: row({
    method: "POST",
    path: "/v1/routes/{route}/verify-weight",
    scope: "read",
    isQuestion: true,
    summary: "Argo Rollouts' VerifyWeight: whether this weight is in force",
    input: desired,
    query: nothing,
    output: verified,
    statuses: [200],
    handle({ sources, route, input }): Reply<Verified> {
      const found = sources.control.route(route);
      return found === undefined ? noRoute() : verifiedOf(found, input.desiredWeight);
    },
  }),
  analysis: read({
    path: "/v1/routes/{route}/analysis",
    summary: "Argo Rollouts' web metric: Successful, Failed or Inconclusive",
    output: analysis,
    handle({ sources, route }): Reply<z.output<typeof analysis>> {
      const found = sources.control.route(route);
      if (found === undefined) return noRoute();
      const { weight: now, phase: where } = found;
      const body = { ...resultOf(found), rollout: summaryOf(where), phase: where, weight: now };
      return { kind: "json", status: 200, body };
    },
  }),
} as const;
