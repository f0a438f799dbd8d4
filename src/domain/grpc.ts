/**
 * gRPC's status codes: their names, which of them say that the arm failed, and what an answer of this proxy's own becomes for a gRPC client.
 * Pure. Source: the gRPC documents "Status codes and their use in gRPC" and "HTTP to gRPC status code mapping".
 */

/** Names of the codes; a name's index is its number. */
export const GRPC_STATUSES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A status by its name. */
export type GrpcStatus = (typeof GRPC_STATUSES)[number];

/** The statuses that count as failures of an arm unless configured otherwise (product.md §2.6). */
export const DEFAULT_FAILING: readonly GrpcStatus[] = [
  "UNKNOWN",
  "DEADLINE_EXCEEDED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNIMPLEMENTED",
];

/** The call's own deadline has passed. */
export const DEADLINE_EXCEEDED = 4;

/** What stands for "no grpc-status was there". */
export const NO_GRPC_STATUS = -1;

/**
 * Value of a grpc-status field: 0…16, `NO_GRPC_STATUS` when there is none. One that is no such number is UNKNOWN, as every gRPC client
 * takes it.
 */
export function grpcStatusOf(value: string | undefined): number {
  if (value === undefined) return NO_GRPC_STATUS;
  return /^\d{1,2}$/.test(value) && Number(value) < GRPC_STATUSES.length ? Number(value) : 2;
}

/** Milliseconds in a unit of grpc-timeout. */
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** Value of a grpc-timeout field in milliseconds: how long its client waits. Infinity when there is none, or what is there is none. */
export function grpcTimeoutOf(value: string | undefined): number {
  const [, digits = "", unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(value ?? "") ?? [];
  return Number(digits) * (UNIT_MS[unit] ?? Infinity) || Infinity;
}

/** The numbers of these statuses as bits of one number. */
export function grpcMask(statuses: readonly GrpcStatus[]): number {
  return statuses.reduce((mask, status) => mask | (1 << GRPC_STATUSES.indexOf(status)), 0);
}

/** Whether a status is one of those in a mask; `NO_GRPC_STATUS` is in none. */
export function isGrpcIn(mask: number, status: number): boolean {
  return status >= 0 && (mask & (1 << status)) !== 0;
}

/** The gRPC status of an answer of this proxy's own, by its HTTP status. */
export function grpcOfHttp(status: number): number {
  switch (status) {
    case 400:
    case 431:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 413:
    case 429:
      return 8;
    case 408:
    case 504:
      return 4;
    case 502:
    case 503:
      return 14;
    default:
      return 2;
  }
}

/** The HTTP status that says of a server what a gRPC status says that is a failure: nobody there, too late, or broken. */
export function httpOfGrpc(status: number): number {
  switch (status) {
    case 4:
      return 504;
    case 14:
      return 503;
    default:
      return 500;
  }
}
