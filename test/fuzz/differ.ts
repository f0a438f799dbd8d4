/**
 * The property: whatever the fast lane calls plain, llhttp reads as the same message with the same end. The fast lane may be stricter.
 */

import { rollOf, mutantOf, pick, requestOf, responseOf } from "./mutate.ts";
import { REQUESTS, RESPONSES } from "./corpus.ts";
import { readRequest, readResponse } from "./fast.ts";
import { hearRequest, hearResponse, type Heard } from "./llhttp.ts";
import { nodeRequests, nodeResponse, type NodeHeard } from "./node-http.ts";

/** Behind every case stands the next message, which must not become a part of it. */
const NEXT_REQUEST = "GET /next HTTP/1.1\r\nHost: next\r\n\r\n";
const NEXT_RESPONSE = "HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n";

/** A case: the bytes as text (latin1), of a request or of a response. */
export interface Case {
  readonly kind: "request" | "response" | "head response";
  readonly text: string;
}

/** The corpus as cases. */
export const CORPUS: readonly Case[] = [
  ...REQUESTS.map((text) => ({ kind: "request" as const, text })),
  ...RESPONSES.map((text) => ({ kind: "response" as const, text })),
  ...RESPONSES.map((text) => ({ kind: "head response" as const, text })),
];

/** The case of a seed. */
export function caseOf(seed: number): Case {
  const roll = rollOf(seed);
  const kind = pick(roll, [
    "request",
    "request",
    "request",
    "response",
    "response",
    "head response",
  ] as const);
  const [corpus, grown] = kind === "request" ? [REQUESTS, requestOf(roll)] : [RESPONSES, responseOf(roll)];
  return { kind, text: mutantOf(roll, roll() < 0.6 ? grown : pick(roll, corpus), corpus) };
}

/** What the case came to: `plain` when both agree, `apart` when the fast lane leaves it to the general one. */
export type Finding = "plain" | "apart" | { readonly trouble: string };

/** Gives the bytes to both. */
export function differ(given: Case): Finding {
  const isRequest = given.kind === "request";
  const isHead = given.kind === "head response";
  const bytes = Buffer.from(given.text + (isRequest ? NEXT_REQUEST : NEXT_RESPONSE), "latin1");
  const fast = isRequest ? readRequest(bytes) : readResponse(bytes, isHead);
  if (fast === undefined) return "apart";
  const oracle = isRequest ? hearRequest(bytes) : hearResponse(bytes, isHead);
  const trouble = apart(fast, oracle);
  if (trouble === "") return "plain";
  return { trouble: `${given.kind} ${JSON.stringify(given.text)}: ${trouble}` };
}

/** What differs, by name; "" when nothing does. */
function apart(fast: Heard, oracle: Heard): string {
  // Stricter is fine, about the body too.
  if (fast.verdict === "refused") return fast.why.startsWith("what passed") ? fast.why : "";
  if (oracle.verdict === "refused") return `the fast lane reads it, llhttp says: ${oracle.why}`;
  const keys: readonly (keyof Heard)[] =
    fast.verdict === "whole"
      ? ["verdict", "method", "target", "status", "fields", "body", "end"]
      : ["verdict", "method", "target", "status", "fields"];
  for (const key of keys) {
    const [ours, theirs] = [JSON.stringify(fast[key]), JSON.stringify(oracle[key])];
    if (ours !== theirs) return `${key} is ${ours} to the fast lane, ${theirs} to llhttp`;
  }
  return "";
}

/** As `differ`, with Node itself as the oracle. */
export async function differNode(given: Case): Promise<Finding> {
  const isRequest = given.kind === "request";
  const isHead = given.kind === "head response";
  const bytes = Buffer.from(given.text + (isRequest ? NEXT_REQUEST : NEXT_RESPONSE), "latin1");
  const fast = isRequest ? readRequest(bytes) : readResponse(bytes, isHead);
  if (fast === undefined || fast.verdict === "refused") return "apart";
  const trouble = isRequest ? await apartFromServer(bytes, fast) : await apartFromClient(bytes, fast, isHead);
  return trouble === "" ? "plain" : { trouble: `${given.kind} ${JSON.stringify(given.text)}: ${trouble}` };
}

async function apartFromServer(bytes: Buffer, fast: Heard): Promise<string> {
  const [first, second] = await nodeRequests(bytes);
  const trouble = apartFromNode(fast, first);
  if (trouble !== "" || fast.verdict !== "whole") return trouble;
  // Behind `Connection: close` it looks at nothing more, be it in a trailer.
  const isLast = /^(?:proxy-)?connection:.*close/im.test(bytes.toString("latin1", 0, fast.end));
  if (isLast || bytes.toString("latin1", fast.end) !== NEXT_REQUEST || second?.target === "/next") return "";
  return `node:http does not find the next request behind it, but ${JSON.stringify(second)}`;
}

/** Excess bytes are an error to Node's client and take the response with them, so the end is looked for by leaving out the last byte. */
async function apartFromClient(bytes: Buffer, fast: Heard, isHead: boolean): Promise<string> {
  if (fast.end < 0) return apartFromNode(fast, await nodeResponse(bytes, isHead, fast.verdict === "whole"));
  const trouble = apartFromNode(fast, await nodeResponse(bytes.subarray(0, fast.end), isHead, false));
  if (trouble !== "") return trouble;
  const short = await nodeResponse(bytes.subarray(0, fast.end - 1), isHead, false);
  return short?.isWhole === true ? "it ends earlier to node:http" : "";
}

function apartFromNode(fast: Heard, node: NodeHeard | undefined): string {
  if (node === undefined) return "the fast lane reads it, node:http does not";
  for (const key of ["method", "target", "status", "fields", "body"] as const) {
    // How much of a body that is cut is told, and when, is not the point.
    if (key === "body" && fast.verdict === "more") continue;
    const [ours, theirs] = [JSON.stringify(fast[key]), JSON.stringify(node[key])];
    if (ours !== theirs) return `${key} is ${ours} to the fast lane, ${theirs} to node:http`;
  }
  return node.isWhole === (fast.verdict === "whole")
    ? ""
    : `it is ${fast.verdict}, and to node:http it is not`;
}
