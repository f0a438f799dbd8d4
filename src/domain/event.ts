/**
 * Things that happen to the data path beside exchanges, by name. Closed sets: each has a word in shared memory and is a metric's label. Only ever
 * append. Pure.
 */

/** What happens to a thread as a whole. */
export const PLANE_EVENTS = [
  "tls_handshake_failed", // a client's TLS handshake failed or was late
  "proxy_header_refused", // a connection without a PROXY protocol header where one must be
  "over_connections", // a connection above `limits.connections`
  "over_address", // a connection above `limits.perAddress`
  "http2_flood", // an HTTP/2 connection ended for too many frames without a request
  "http2_resets", // an HTTP/2 connection ended for too many requests that its client reset
  "shed_loop_delay", // a request shed because the event loop was late
  "shed_concurrency", // a request shed because too many were in flight
  "safety_emergency", // a request answered by `emergency` in place of its route
  "safety_read_only", // a write refused by `read-only`
  "safety_maintenance", // a request answered by `maintenance` in place of its route
  "account_dropped", // an exchange without its line or its spans, since too many waited
] as const;

/** One of them. */
export type PlaneEvent = (typeof PLANE_EVENTS)[number];

/** What happens to one arm of a route. */
export const ARM_EVENTS = [
  "ejected_consecutive", // an endpoint left out for failures in a row
  "ejected_success_rate", // an endpoint left out for doing worse than its siblings
  "ejection_refused", // one that should have been, but enough were out already
  "panic", // an exchange sent although its endpoint is unhealthy or ejected, since too few are not
  "retried", // a request sent again because a kept connection was lost, or none opened
  "retry_refused", // the same, over the retry budget
  "over_concurrency", // an exchange above the arm's `concurrency`
  "over_queue", // an exchange for which there was no place in the queue for a connection
  "dns_failed", // an endpoint's name could not be looked up
  "dns_changed", // an endpoint's name leads to other addresses than before
  "mirror_sent", // a copy of a request sent
  "mirror_skipped", // one not sent, since too many were in flight
  "mirror_answered", // a copy that was answered
  "mirror_failed", // one that was not, or with a failure
  "mirror_status_differs", // the copy's status was not stable's
  "mirror_fields_differ", // one of the compared fields was not stable's
  "over_tunnels", // a WebSocket above `longLived.connections`
] as const;

/** One of them. */
export type ArmEvent = (typeof ARM_EVENTS)[number];

/** The index of each plane event. */
export const PLANE_EVENT_INDEX = indexOf(PLANE_EVENTS);
/** The index of each arm event. */
export const ARM_EVENT_INDEX = indexOf(ARM_EVENTS);

function indexOf<T extends string>(names: readonly T[]): Readonly<Record<T, number>> {
  // the entries are made from the very list the type comes from
  return Object.fromEntries(names.map((name, index) => [name, index])) as Record<T, number>;
}

/** Two lists of counts, added index by index. */
export function addEvents(a: readonly number[], b: readonly number[]): readonly number[] {
  return a.map((count, index) => count + (b[index] ?? 0));
}
