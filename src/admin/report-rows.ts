/** The rows of the reports of rollouts. */

import { prefers } from "../telemetry/accept.ts";
import { listQuery, listedBy, read } from "./row.ts";
import { reportSchema, reportsSchema } from "./shapes.ts";

const JSON_TYPE = "application/json";
const MARKDOWN = "text/markdown";

/** The list, and one of them. */
export const REPORT_ROWS = {
  reports: read({
    path: "/v1/reports",
    summary: "The reports of rollouts, newest first",
    query: listQuery("reports"),
    output: reportsSchema,
    async handle({ sources, query }) {
      const reports = await sources.reports.list(listedBy(query));
      return { kind: "json", status: 200, body: { reports } };
    },
  }),
  report: read({
    path: "/v1/reports/{id}",
    summary: "The report of one rollout, as JSON, or as Markdown when Accept prefers it",
    output: reportSchema,
    text: MARKDOWN,
    async handle({ sources, id, accept }) {
      const isText = prefers(accept, MARKDOWN, JSON_TYPE);
      const body = await sources.reports.read(id, isText ? "md" : "json");
      if (body === undefined)
        return { kind: "problem", code: "SPLIT_NOT_FOUND", message: "there is no report of this id" };
      // As it lies in its file: what is written is what is described.
      return { kind: "text", contentType: isText ? `${MARKDOWN}; charset=utf-8` : JSON_TYPE, body };
    },
  }),
} as const;
