/** What reading and rewriting a head costs in the general lane. `node bench/micro/headers.ts` */

import { copyRequestFields, readRequestHead, readResponseFields } from "../../src/proxy/headers.ts";
import { time } from "./time.ts";

const limits = { url: 16_384, fields: 100, head: 16_384, body: Infinity };
/** Names and values in turn, as `node:http` hands them over. */
const flat = (fields: Readonly<Record<string, string>>): readonly string[] => Object.entries(fields).flat();
const small = flat({ Host: "app.example", "User-Agent": "bench", Accept: "*/*", Cookie: "sid=user-1" });
const browser = small.concat(
  flat({
    "Accept-Language": "en-GB,en;q=0.9",
    "Accept-Encoding": "gzip, deflate, br",
    Connection: "keep-alive",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    DNT: "1",
    Referer: "https://app.example/somewhere",
    "If-None-Match": '"5d8c72a5edda8d6a"',
    "X-Request-Id": "0123456789",
  }),
);
const answer = flat({
  "Content-Type": "application/json",
  "Content-Length": "1024",
  Date: "Thu, 01 Jan 1970 00:00:00 GMT",
  "Cache-Control": "no-store",
  Connection: "keep-alive",
  ETag: '"5d8c72a5edda8d6a"',
});

for (const [name, fields] of [
  ["4 fields", small],
  ["14 fields", browser],
] as const) {
  time(`readRequestHead, ${name}`, () => {
    const head = readRequestHead("GET", "/path?x=1", "1.1", fields, limits);
    return head.refusal === undefined ? head.target.length : Number.NaN;
  });
  time(`copyRequestFields, ${name}`, () => {
    const out: string[] = [];
    copyRequestFields(out, fields, [], "");
    return out.length;
  });
}
time("readResponseFields, 6 fields", () => readResponseFields(200, "OK", answer).fields.length);
