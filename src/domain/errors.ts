/**
 * Trouble with a name. Pure.
 *
 * One class, and one table that says for each code what the admin API answers, how the command line exits, and what a
 * person can do. Callers match on `code`, never on text or `instanceof` of a subclass: a code, once released, never changes.
 */

/** Whose fault it is. */
export type ErrorSource = "upstream" | "downstream" | "internal";

interface CodeRow {
  /** HTTP status of the admin API's answer. */
  readonly status: number;
  /** Exit code of the command line (product.md §4). */
  readonly exit: number;
  /** Whether the same call may succeed later without a change. */
  readonly retryable: boolean;
  readonly source: ErrorSource;
  /** What to do about it, one sentence. */
  readonly remedy: string;
}

/** Every code. The README's list is generated from this table. */
export const CODES = {
  SPLIT_CONFIG_INVALID: row(400, 2, false, "downstream", "Correct the configuration at the place named."),
  SPLIT_CONFIG_UNREADABLE: row(
    500,
    2,
    false,
    "internal",
    "Check the path and the permissions of the file named.",
  ),
  SPLIT_NODE_TOO_OLD: row(500, 2, false, "internal", "Run it on Node 22.19 or newer."),
  SPLIT_USAGE: row(400, 2, false, "downstream", "See the command's --help."),
  SPLIT_LISTEN_FAILED: row(
    500,
    1,
    false,
    "internal",
    "Free the address named, or choose another in `listen` or `admin`.",
  ),
  SPLIT_STATE_UNWRITABLE: row(
    503,
    1,
    true,
    "internal",
    "Make room on, or repair, the disk that holds the state.",
  ),
  SPLIT_STATE_CONFLICT: row(
    412,
    4,
    true,
    "downstream",
    "Read the state again and decide on what it says now.",
  ),
  SPLIT_PHASE_MISMATCH: row(
    409,
    4,
    false,
    "downstream",
    "The command does not fit the rollout's phase; see status.",
  ),
  SPLIT_COOLDOWN: row(409, 4, true, "downstream", "Wait for the cooldown to pass, or force with a reason."),
  SPLIT_HELD: row(409, 4, true, "downstream", "Wait, or do what the message asks for, and ask again."),
  SPLIT_INPUT_INVALID: row(400, 2, false, "downstream", "Correct the field named."),
  SPLIT_FLAG_CRITICAL: row(409, 4, false, "downstream", "Force it, and say why."),
  SPLIT_FLAG_FOLLOWS: row(
    409,
    4,
    false,
    "downstream",
    "Set the route's weight, or switch the flag off altogether.",
  ),
  SPLIT_LOG_UNREADABLE: row(
    400,
    2,
    false,
    "downstream",
    "Check --format and --log-format against the lines named.",
  ),
  SPLIT_UNAUTHORIZED: row(401, 2, false, "downstream", "Send a valid bearer token."),
  SPLIT_FORBIDDEN: row(403, 2, false, "downstream", "Use a token that has the scope named."),
  SPLIT_ORIGIN_REFUSED: row(
    403,
    2,
    false,
    "downstream",
    "Call the admin API from its own origin or without a browser.",
  ),
  SPLIT_HOST_REFUSED: row(421, 2, false, "downstream", "Call the admin API by the address it listens on."),
  SPLIT_NOT_FOUND: row(404, 2, false, "downstream", "Check the name; `status` lists the routes."),
  SPLIT_METHOD_NOT_ALLOWED: row(405, 2, false, "downstream", "Use a method that the Allow field names."),
  SPLIT_TOO_LARGE: row(413, 2, false, "downstream", "Send a smaller body."),
  SPLIT_MEDIA_TYPE: row(415, 2, false, "downstream", "Send the body as application/json."),
  SPLIT_RATE_LIMITED: row(
    429,
    2,
    true,
    "downstream",
    "Wait: too many failed authentications from this address.",
  ),
  SPLIT_REQUEST_REFUSED: row(400, 1, false, "downstream", "The request is ambiguous or over a limit."),
  SPLIT_UPSTREAM_FAILED: row(
    502,
    1,
    true,
    "upstream",
    "The upstream refused, reset or sent what is not HTTP.",
  ),
  SPLIT_UPSTREAM_TIMEOUT: row(504, 1, true, "upstream", "The upstream did not answer in time."),
  SPLIT_NO_ROUTE: row(404, 1, false, "downstream", "No route matches this host and path."),
  SPLIT_READ_ONLY: row(503, 1, true, "internal", "Wait until `read-only` is switched off, or only read."),
  SPLIT_MAINTENANCE: row(503, 1, true, "internal", "Wait until `maintenance` is switched off; see status."),
  SPLIT_DRAINING: row(503, 1, true, "internal", "This replica is going away; try again."),
  SPLIT_OVERLOADED: row(503, 1, true, "internal", "Too many requests wait for this upstream; try again."),
  SPLIT_NO_LEADER: row(
    503,
    1,
    true,
    "internal",
    "See `sluice replicas`; lowering works on every replica meanwhile.",
  ),
  SPLIT_UNREACHABLE: row(
    503,
    5,
    true,
    "internal",
    "Start the proxy, or name its admin address with --admin.",
  ),
  SPLIT_TIMED_OUT: row(504, 124, true, "internal", "Wait longer with --timeout."),
  SPLIT_INTERNAL: row(500, 1, false, "internal", "A bug: please report it with the log line."),
} as const satisfies Record<string, CodeRow>;

/** A stable name of a kind of trouble. */
export type ErrorCode = keyof typeof CODES;

function row(status: number, exit: number, retryable: boolean, source: ErrorSource, remedy: string): CodeRow {
  return { status, exit, retryable, source, remedy };
}

/** Trouble that has a code. `message` is for people and may change; `code` is for programs and does not. */
export class AppError extends Error {
  readonly code: ErrorCode;
  /** More about it for programs, e.g. `{ field: "weight" }`; must hold no secret and no raw key. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.name = "AppError";
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** `error` itself when it has a code, else a SPLIT_INTERNAL that wraps it. */
export function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return new AppError("SPLIT_INTERNAL", wordsOf(error), { cause: error });
}

/** An error in words for people. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Why a file could not be read, by the system's name for it. */
export const UNREAD: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EISDIR: "it is a folder",
};

/** What went wrong, in the words of `known` where it has some for the system's name of the error. */
export function causeOf(error: unknown, known: Readonly<Record<string, string>>): string {
  if (!(error instanceof Error)) return String(error);
  const code = codeOf(error);
  return known[code] ?? (error.message === "" ? code : error.message);
}

/** The platform's name of an error (`ENOENT`); empty when it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** What the system says when this machine has nothing left to open a connection with. */
const EXHAUSTION = /^(?:EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL)$/;

/** Whether a system error's code says so: then nothing was learnt about whoever was to be reached. */
export function isExhaustion(code: string): boolean {
  return EXHAUSTION.test(code);
}
