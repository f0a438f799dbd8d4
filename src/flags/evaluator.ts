/**
 * flagd's own evaluator over the flags in force, and the only door to it: what `fractional` and the other operators give is what flagd gives.
 *
 * It interprets the rules and builds no code from them, whatever a file holds.
 */

import { FlagdCore } from "@openfeature/flagd-core";
import type { Flag } from "../domain/flag.ts";

/** What the rules of a flag came to. */
export type Evaluated =
  | { readonly ok: true; readonly variant: string | null; readonly reason: string }
  | {
      readonly ok: false;
      readonly code: "TARGETING_KEY_MISSING" | "GENERAL" | "PARSE_ERROR";
      readonly detail: string;
    };

/** Evaluates one flag for one context. Never throws. */
export type Evaluate = (key: string, context: Readonly<Record<string, unknown>>) => Evaluated;

/** Makes an evaluator of flags, and says of which it cannot run the rules. */
export type EvaluatorOf = (flags: readonly Flag[]) => {
  readonly evaluate: Evaluate;
  readonly broken: readonly string[];
};

const silent = (): void => {};
const QUIET = { error: silent, warn: silent, info: silent, debug: silent };

/** An evaluator of these flags. */
export const evaluatorOf: EvaluatorOf = (flags) => {
  const core = new FlagdCore(undefined, QUIET, { disableDynamicCodeGeneration: true });
  const definitions = flags.map(({ key, state, variants, defaultVariant, targeting }) => [
    key,
    { state, variants, defaultVariant, ...(targeting === undefined ? {} : { targeting }) },
  ]);
  core.setConfigurations(JSON.stringify({ flags: Object.fromEntries(definitions) }));
  const evaluate: Evaluate = (key, context) => {
    let isKeyMissing = false;
    const debug = (message: string): void => {
      // The one way in which it says that a rule has asked for the key: the rule itself may go on and give something.
      if (message.includes("Missing targetingKey")) isKeyMissing = true;
    };
    // The context is JSON already; the types of its values are the SDK's.
    const found = core.getFlag(key)?.evaluate(context as never, { ...QUIET, debug });
    if (isKeyMissing)
      return { ok: false, code: "TARGETING_KEY_MISSING", detail: "this flag chooses by the targeting key" };
    if (found === undefined) return { ok: false, code: "GENERAL", detail: "there is no such flag" };
    if (found.reason === "ERROR") {
      const code = String(found.errorCode) === "PARSE_ERROR" ? "PARSE_ERROR" : "GENERAL";
      return { ok: false, code, detail: "the rules of this flag give no variant" };
    }
    return { ok: true, variant: found.variant ?? null, reason: found.reason };
  };
  const broken = flags.filter(({ key }) => {
    const tried = evaluate(key, {});
    return !tried.ok && tried.code === "PARSE_ERROR";
  });
  return { evaluate, broken: broken.map(({ key }) => key) };
};
