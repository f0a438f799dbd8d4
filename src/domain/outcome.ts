/**
 * What one exchange came to. Pure.
 *
 * Three outcomes: `success` and `failure` are evidence about an arm, `excluded` is not (product.md §2.5 and §2.6, the table in
 * house.md §4). Each has a reason from a closed set, so that it can be counted in a plain array on the hot path and
 * be a metric's label without risk.
 */

/** Whether an exchange counts for its arm, against it, or not at all. */
export type OutcomeKind = "success" | "failure" | "excluded";

/** Every reason, in the order of its index in counter arrays. Only ever append: slices travel between replicas. */
export const REASONS = [
  "ok", // a response below 500, read to its end
  "status", // a status that counts as failing (5xx, unless configured otherwise)
  "connect", // no connection: refused, unreachable, TLS failure, connect time-out
  "reset", // connection lost before the response head
  "timeout", // no response head in time
  "malformed", // the response could not be understood
  "cut", // the response stopped inside its body
  "client_gone", // the client left first (logged as 499)
  "refused", // refused by this proxy: framing, limits
  "unavailable", // draining, shedding load, or our own fault
  "grpc", // a gRPC status that counts as failing
  "known_issue", // a failing status that the configuration names as known
] as const;

/** Why an exchange ended as it did; the closed set behind the `reason` label. */
export type Reason = (typeof REASONS)[number];

/** The index of each reason in counter arrays. */
export const REASON_INDEX: Readonly<Record<Reason, number>> = Object.fromEntries(
  REASONS.map((reason, index) => [reason, index]),
) as Record<Reason, number>; // the entries are made from the very list the type comes from

/** Success, failure or excluded, for a reason. */
export function kindOf(reason: Reason): OutcomeKind {
  switch (reason) {
    case "ok":
      return "success";
    case "status":
    case "connect":
    case "reset":
    case "timeout":
    case "malformed":
    case "cut":
    case "grpc":
      return "failure";
    case "client_gone":
    case "refused":
    case "unavailable":
    case "known_issue":
      return "excluded";
    default:
      return reason satisfies never;
  }
}

/** The `outcome` label's values, in the order of their index in counter arrays. */
export const OUTCOMES: readonly OutcomeKind[] = ["success", "failure", "excluded"];

/** The `code_class` label's values; index = status / 100, and 0 for an exchange that never had a status. */
export const CODE_CLASSES = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;

/** The index of a status in `CODE_CLASSES`; 0 for anything outside 100…599. */
export function codeClassIndex(status: number): number {
  return status >= 100 && status < 600 ? Math.floor(status / 100) : 0;
}

/** What was bad about a response: it failed, was slower than a rule's limit, or was a 4xx. */
export type BadKind = "failure" | "slow" | "client_error";

/** How many samples of each kind are kept in a second: enough to see what they have in common. */
export const SAMPLES: Readonly<Record<BadKind, number>> = { failure: 300, slow: 100, client_error: 50 };

/** What was bad about a response; undefined: nothing. @param isBad it failed, or was slower than a rule's limit */
export function badKindOf(isBad: boolean, reason: Reason, status: number): BadKind | undefined {
  if (kindOf(reason) === "failure") return "failure";
  if (isBad) return "slow";
  return reason === "ok" && status >= 400 && status < 500 ? "client_error" : undefined;
}
