/**
 * Trouble as the admin API tells it: RFC 9457 problem details, made from the one table of codes. Pure.
 *
 * `code` is for programs and never changes; `detail` is for people. Nothing here repeats a secret, and a bug says no more than that there
 * was one and under which number the log knows it.
 */

import { z } from "zod";
import { CODES, type ErrorCode } from "../domain/errors.ts";

/** What the body of every refusal looks like. */
export const problemSchema = z
  .strictObject({
    type: z.string().meta({ description: "urn:sluice:problem: and the code" }),
    title: z.string().meta({ description: "the code in words" }),
    status: z.int().meta({ description: "the status of the answer" }),
    detail: z.string().meta({ description: "what happened, for people" }),
    code: z.string().meta({ description: "what happened, for programs; never changes" }),
    retryable: z.boolean().meta({ description: "whether the same call may succeed later as it is" }),
    remedy: z.string().meta({ description: "what to do about it" }),
    field: z.string().exactOptional().meta({ description: "the field that was refused, as a dotted path" }),
    instance: z.string().exactOptional().meta({ description: "the number of this case in the log" }),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details" });

/** A refusal's body. */
export type Problem = z.output<typeof problemSchema>;

/** More about a refusal than its code says. */
export interface ProblemMore {
  /** Sent in the place of the code's own status. */
  readonly status?: number;
  readonly field?: string;
  readonly instance?: string;
}

/** Media type of a problem. */
export const PROBLEM_TYPE = "application/problem+json";

/** The body of a refusal with `code`. */
export function problemOf(code: ErrorCode, detail: string, more: ProblemMore = {}): Problem {
  const { status, retryable, remedy } = CODES[code];
  const words = code
    .replace(/^SPLIT_/, "")
    .toLowerCase()
    .replaceAll("_", " ");
  return {
    type: `urn:sluice:problem:${code}`,
    title: words.charAt(0).toUpperCase() + words.slice(1),
    status: more.status ?? status,
    detail,
    code,
    retryable,
    remedy,
    ...(more.field === undefined ? {} : { field: more.field }),
    ...(more.instance === undefined ? {} : { instance: more.instance }),
  };
}
