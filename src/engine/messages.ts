/** The last messages, for whoever looks in later: everything that is told goes through here on its way. */

import type { Clock, Notice, Notifier } from "./ports.ts";

/** A message that was told, and when. */
export interface ToldMessage extends Notice {
  /** Wall clock, ISO 8601. */
  readonly at: string;
}

/** A notifier that remembers. */
export interface Messages extends Notifier {
  /** The last `limit`, oldest first; of one route when named. */
  last(options: { readonly limit: number; readonly route?: string | undefined }): readonly ToldMessage[];
}

/** So many are kept. */
const MOST = 500;

/** Hands everything on to `notifier`, and remembers it. */
export function keepMessages(notifier: Notifier, clock: Pick<Clock, "wall">): Messages {
  const kept: ToldMessage[] = [];
  return {
    notify(notice, handing) {
      kept.push({ at: new Date(clock.wall()).toISOString(), ...notice });
      if (kept.length > MOST) kept.shift();
      notifier.notify(notice, handing);
    },
    last: ({ limit, route }) =>
      kept.filter((each) => route === undefined || each.route === route).slice(-limit),
  };
}
