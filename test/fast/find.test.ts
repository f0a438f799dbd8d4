/** What a scan says of single lines. */

import t from "tap";
import { PLAIN, RequestScan, ResponseScan, scanRequest, scanResponse } from "../../src/proxy/fast/scan.ts";
import { WIDE } from "../fuzz/fast.ts";

const response = new ResponseScan();

/** Scans a response that is plain. */
function scanned(t: { equal: (a: number, b: number) => unknown }, text: string): ResponseScan {
  const bytes = Buffer.from(text, "latin1");
  t.equal(scanResponse(bytes, 0, bytes.length, WIDE.head, response), PLAIN);
  t.equal(response.end, bytes.length);
  return response;
}

t.test("the first field of a name is found, in any case, and no other", async (t) => {
  const request = new RequestScan();
  const bytes = Buffer.from("GET / HTTP/1.1\r\nHost: x\r\nX-Ab: 1\r\nx-aB: 2\r\nX-Abc: 3\r\n\r\n", "latin1");
  t.equal(scanRequest(bytes, 0, bytes.length, WIDE, request), PLAIN);
  t.equal(request.find(bytes, "x-ab"), 1);
  t.equal(request.find(bytes, "x-abc"), 3);
  t.equal(request.find(bytes, "x-a"), -1);
  t.equal(request.find(bytes, "x-ac"), -1);
});

t.test("a status line may lack its last space, and its head is composed anew then", async (t) => {
  t.match(scanned(t, "HTTP/1.1 204\r\nA: b\r\n\r\n"), { status: 204, names: true });
  t.match(scanned(t, "HTTP/1.1 204 \r\nA: b\r\n\r\n"), { status: 204, names: false });
});

t.test("Connection in a response may name fields, which is said", async (t) => {
  const of = (value: string): ResponseScan => scanned(t, `HTTP/1.1 200 OK\r\nConnection: ${value}\r\n\r\n`);
  t.match(of("X-A, close"), { names: true, closes: false });
  t.match(of("close"), { names: false, closes: true });
  t.match(of("KEEP-alive"), { names: false, closes: false });
});
