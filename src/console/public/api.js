/**
 * The admin API, as the console calls it: with the token in a field and never in an address, and trouble as an error that says its code and what to
 * do about it.
 */

/** @import { Problem } from "../../admin/problem.ts" */

const KEPT = "sluice-token";

/** Trouble that the API told of. */
export class Refused extends Error {
  /** @param {Partial<Problem> & { readonly status: number }} problem */
  constructor(problem) {
    super(problem.detail ?? `the proxy answered ${problem.status}`);
    this.status = problem.status;
    this.code = problem.code ?? "";
    this.remedy = problem.remedy ?? "";
  }
}

/** Trouble in words for people; `code` and `remedy` are empty where there is none. @param {unknown} error */
export function troubleOf(error) {
  if (error instanceof Refused) return { message: error.message, code: error.code, remedy: error.remedy };
  return {
    message: "the proxy cannot be reached",
    code: "SPLIT_UNREACHABLE",
    remedy: "See that it runs, and that this page still leads to it.",
  };
}

let token = sessionStorage.getItem(KEPT) ?? "";

/** Whether there is a token to call with. */
export function hasToken() {
  return token !== "";
}

/**
 * Calls with this token from now on.
 *
 * @param {string} next
 * @param {boolean} isKept until the tab is closed; else until the page is left
 */
export function useToken(next, isKept) {
  token = next;
  if (isKept) sessionStorage.setItem(KEPT, next);
  else sessionStorage.removeItem(KEPT);
}

/** Forgets the token. */
export function forgetToken() {
  useToken("", false);
}

/**
 * One call. Rejects with `Refused`, or as `fetch` does.
 *
 * @param {string} path
 * @param {{ method?: string, body?: unknown, ifMatch?: string | undefined, signal?: AbortSignal }} [options]
 * @returns {Promise<Response>}
 */
async function call(path, { method = "GET", body, ifMatch, signal } = {}) {
  const answer = await fetch(path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(ifMatch === undefined ? {} : { "if-match": `"${ifMatch}"` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
    cache: "no-store",
    credentials: "omit",
  });
  if (answer.ok) return answer;
  /** @type {Partial<Problem>} */
  const problem = await answer.json().catch(() => ({}));
  throw new Refused({ ...problem, status: answer.status });
}

/**
 * What is read; the caller knows its shape.
 *
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function get(path) {
  return (await call(path)).json();
}

/**
 * A verb.
 *
 * @param {string} path
 * @param {unknown} body
 * @param {number} [ifVersion] the version that was decided on: of another one the call is refused
 * @returns {Promise<any>}
 */
export async function post(path, body, ifVersion) {
  return (await call(path, { method: "POST", body, ifMatch: ifVersion?.toString() })).json();
}

/** Takes something away. @param {string} path */
export async function remove(path) {
  await call(path, { method: "DELETE" });
}

/**
 * The stream of events, read with the token, which `EventSource` cannot send. Resolves when it ends.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {() => void} onSign something came, be it nothing but a sign of life
 * @param {(data: any) => void} onData
 */
export async function stream(path, signal, onSign, onData) {
  const { body } = await call(path, { signal });
  if (body === null) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onSign();
    text += value;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data !== undefined) onData(JSON.parse(data.slice(6)));
    }
  }
}
