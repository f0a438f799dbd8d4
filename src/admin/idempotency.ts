/**
 * `Idempotency-Key`: a write that is sent again, because its answer was lost, is not done again.
 *
 * Answers are kept in a bounded cache per token, so that nobody can read or push out what a stranger's key holds by more than the bound.
 * A second call that comes while the first is under way waits for the first's answer. Our own faults (5xx) are not kept: they are what a repeat is for.
 */

import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../engine/ports.ts";
import type { Answer } from "./answer.ts";

/** How long an answer is kept: ms. */
export const KEPT_MS = 600_000;
const ANSWERS = 256;

interface Kept {
  readonly fingerprint: string;
  readonly answer: Promise<Answer>;
}

/** What a key means for this call. */
export type Idempotent =
  | { readonly kind: "answer"; readonly answer: Answer }
  /** The key was used for another call. */
  | { readonly kind: "other" };

/** Answers by key. */
export interface Answers {
  /**
   * The answer that `key` of `actor` has, or that of `run`, once. `parts` is what makes two calls the same: method, path, body, If-Match.
   * Rejects when `run` does, and forgets it.
   */
  once(actor: string, key: string, parts: readonly string[], run: () => Promise<Answer>): Promise<Idempotent>;
}

/** Whether `key` may be one: 1 to 255 visible ASCII characters. */
export function isIdempotencyKey(key: string): boolean {
  return /^[\x20-\x7e]{1,255}$/.test(key);
}

/** An empty memory of answers. */
export function createAnswers(clock: Clock): Answers {
  const kept = new LRUCache<string, Kept>({
    max: ANSWERS,
    ttl: KEPT_MS,
    perf: { now: () => clock.mono() + 1 },
    ttlResolution: 0,
  });
  return {
    async once(actor, key, parts, run) {
      const id = JSON.stringify([actor, key]);
      const fingerprint = createHash("sha256").update(JSON.stringify(parts)).digest("base64");
      const found = kept.get(id);
      if (found !== undefined) {
        if (found.fingerprint !== fingerprint) return { kind: "other" };
        const answer = await found.answer;
        return {
          kind: "answer",
          answer: { ...answer, headers: { ...answer.headers, "idempotent-replayed": "true" } },
        };
      }
      const entry: Kept = { fingerprint, answer: run() };
      kept.set(id, entry);
      const forget = (): void => {
        if (kept.peek(id) === entry) kept.delete(id);
      };
      try {
        const answer = await entry.answer;
        if (answer.status >= 500) forget();
        return { kind: "answer", answer };
      } catch (error) {
        forget();
        throw error;
      }
    },
  };
}
