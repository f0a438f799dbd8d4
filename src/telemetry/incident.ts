/**
 * The files of incidents: `incident_<environment>_<route>_<timestamp>.json` with its Markdown beside it, the draft of the report that people write after it.
 *
 * Written anew whenever something has come of an incident, from the record and from what the journal says of its rollout. A disk that is full costs the
 * files and nothing else: the record is part of the state, and they are written again at the next start.
 */

import type { IncidentRecord } from "../domain/incident.ts";
import { incidentJson, incidentMarkdown } from "../domain/incident-report.ts";
import type { IncidentFiles, Journal, Log } from "../engine/ports.ts";
import { replace } from "./place.ts";

/** Where they go, and what they are made of. */
export interface IncidentOptions {
  /** Made when it is missing. */
  readonly folder: string;
  readonly journal: Pick<Journal, "read">;
  readonly log: Log;
}

/** Lines of the route that are looked through for those of the rollout. */
const LOOKED_THROUGH = 1000;

/** Keeps the files, one after the other. */
export function keepIncidents({ folder, journal, log }: IncidentOptions): IncidentFiles & {
  /** Resolves when everything that was asked for was tried. */
  close(): Promise<void>;
} {
  let last: Promise<void> = Promise.resolve();
  async function written(incident: IncidentRecord): Promise<void> {
    const { id, route, rollout } = incident;
    try {
      const lines = await journal.read({ limit: LOOKED_THROUGH, route });
      const own = lines.filter((line) => line.rollout === rollout);
      await replace(folder, `${id}.json`, incidentJson(incident, own));
      await replace(folder, `${id}.md`, incidentMarkdown(incident, own));
    } catch (error) {
      log.error("could not write the files of an incident", { route, incident: id, error });
    }
  }
  return {
    write(incident) {
      last = last.then(() => written(incident));
      return last;
    },
    close: () => last,
  };
}
