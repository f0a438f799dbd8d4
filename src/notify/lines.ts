/** Notices as lines of the log: the channel that needs no configuration and is always there. */

import type { Log } from "../engine/ports.ts";
import type { Channel } from "./channel.ts";

/** A channel that logs: `info` as info, `warning` as warn, `critical` and `emergency` as error. */
export function logChannel(log: Log): Channel {
  return {
    name: "log",
    isKeyed: false,
    async send({ notice }) {
      const { id, severity, event, route, rollout, summary, details } = notice;
      const fields = { id, severity, event, route, rollout, details };
      if (severity === "info") log.info(summary, fields);
      else if (severity === "warning") log.warn(summary, fields);
      else log.error(summary, fields);
      return { ok: true };
    },
    async close() {},
  };
}
