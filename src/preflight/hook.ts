/**
 * A question to somebody else's program: one signed POST, and a 2xx means go. Before a rollout (`webhooks` of a preflight), and at a gate, again and again
 * (`confirm`), as Flagger has them.
 *
 * Silence, an error, a redirect and any other status mean no. Neither URL nor secret is ever part of what is found: with many services the URL is a secret itself.
 */

import type { Secret, SecretSource } from "../config/secret.ts";
import { checkHost, credentialsOf, lookupOf, type Lookup } from "../config/address.ts";
import { bareHost } from "../domain/host.ts";
import type { Clock, Confirm, ConfirmHook, Dice } from "../engine/ports.ts";
import { exchange } from "./exchange.ts";
import { detailOf, fails, holds, plainOf, within, type Finding } from "./limit.ts";

/** The fields that sign a message; without a secret those that name it. `seconds` since the epoch. */
export type Sign = (
  secret: string | undefined,
  id: string,
  seconds: number,
  body: string,
) => Readonly<Record<string, string>>;

/** What asking takes. */
export interface HookParts {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly lookup: Lookup;
  readonly sign: Sign;
  readonly secretOf: (source: SecretSource) => Secret;
  readonly environment: string;
}

/** One kind of question: `sluice.preflight`. */
export interface Question {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** So much of what a refusal says is read: bytes. */
const MOST_REFUSAL = 1024;
const ID_BYTES = 16;

/** Asks once, within the hook's own time. Never rejects. `ended` ends it at once. */
export function askHook(
  parts: HookParts,
  hook: ConfirmHook,
  question: Question,
  ended?: AbortSignal,
): Promise<Finding> {
  return within(parts.clock, hook.timeout, (signal) => post(parts, hook, question, signal), ended);
}

async function post(
  { clock, dice, lookup, sign, secretOf, environment }: HookParts,
  { url: text, secret, allowPrivate }: ConfirmHook,
  { type, data }: Question,
  signal: AbortSignal,
): Promise<Finding> {
  const url = new URL(text);
  const wall = clock.wall();
  const body = JSON.stringify({
    type,
    timestamp: new Date(wall).toISOString(),
    data: { environment, ...data },
  });
  const key = secret === undefined ? undefined : secretOf(secret).reveal();
  try {
    if (!allowPrivate) checkHost(bareHost(url.hostname));
    const { status, body: said } = await exchange(
      {
        url,
        isHttp2: false,
        method: "POST",
        path: `${url.pathname}${url.search}`,
        fields: {
          "content-type": "application/json",
          "user-agent": "sluice",
          ...credentialsOf(url),
          ...sign(key, `msg_${dice.token(ID_BYTES)}`, Math.floor(wall / 1000), body),
        },
        body,
        lookup: lookupOf(lookup, !allowPrivate),
        most: (code) => (isGo(code) ? 0 : MOST_REFUSAL),
      },
      signal,
    );
    if (isGo(status)) return holds(`status ${status}`);
    const why = plainOf(Buffer.from(said, "latin1").toString("utf8").split("\n", 1)[0] ?? "");
    return fails(why === "" ? `status ${status}` : `status ${status}: ${why}`);
  } catch (error) {
    return fails(detailOf(error));
  }
}

function isGo(status: number): boolean {
  return status >= 200 && status < 300;
}

/** The port of the gates. */
export function createConfirm(parts: HookParts, ended: AbortSignal): Confirm {
  return {
    async ask(route, hook, about) {
      const question = { type: "sluice.confirm", data: { route, ...about } };
      const { ok, detail } = await askHook(parts, hook, question, ended);
      return { go: ok, detail };
    },
  };
}
