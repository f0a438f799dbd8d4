/** The bucket of a request, from the bytes of its head: the same as from its texts (affinity.ts), for every head the scanner takes. */

import fc from "fast-check";
import t from "tap";
import { bucketByText } from "../../src/proxy/affinity.ts";
import { fieldOfText } from "../../src/proxy/fast/head.ts";
import { bucketOfScan } from "../../src/proxy/fast/key.ts";
import { PLAIN, RequestScan, scanRequest } from "../../src/proxy/fast/scan.ts";
import type { KeySource, RequestView } from "../../src/proxy/request.ts";

const LIMITS = { head: 65_536, fields: 100, url: 1024, body: Infinity };
const scan = new RequestScan();

const char = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...Array.from('abcsid=; \t,"')) },
  { weight: 1, arbitrary: fc.constantFrom("\xe9", "\x80") },
);
const value = fc.string({ unit: char, maxLength: 30 });
const field = fc.tuple(fc.constantFrom("X-User", "x-user", "Cookie", "cookie", "X-Other"), value);
const source: fc.Arbitrary<KeySource> = fc.constantFrom<KeySource>(
  { kind: "header", name: "x-user" },
  { kind: "header", name: "cookie" },
  { kind: "cookie", name: "sid" },
  { kind: "cookie", name: "s" },
  { kind: "query", name: "q" },
  { kind: "ip", name: "" },
);

t.test(
  "a key found in the bytes of a head has the bucket of the same key found in its text (reliability 34)",
  async (t) => {
    let quick = 0;
    fc.assert(
      fc.property(
        fc.array(field, { maxLength: 4 }),
        fc.array(source, { maxLength: 3 }),
        (fields, sources) => {
          const lines = fields.map(([name, text]) => `${name}: ${text}\r\n`).join("");
          const head = `GET /?q=1 HTTP/1.1\r\nHost: x\r\n${lines}\r\n`;
          const bytes = Buffer.from(`###${head}###`, "latin1");
          if (scanRequest(bytes, 3, bytes.length - 3, LIMITS, scan) !== PLAIN) throw new Error(head);
          const view: RequestView = {
            subject: "",
            method: "GET",
            target: "/?q=1",
            client: "127.0.0.1",
            header: (name) => fieldOfText(head, name),
            bucketOf: () => 0,
          };
          const found = bucketOfScan(scan, bytes, sources, "salt");
          if (found !== undefined && found >= 0) quick++;
          return found === undefined || found === bucketByText(view, sources, "salt");
        },
      ),
      { numRuns: 5000 },
    );
    t.ok(quick > 500, `${quick} keys were found in bytes`);
  },
);
