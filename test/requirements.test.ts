/**
 * Each numbered requirement of the reliability list has a test that names it: "… (reliability 17)" or "(reliability 3, 19)" at the end of the
 * name. What is missing is named here with what it asks for, so that nobody has to look it up to know what is not proven.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

/** What each asks for, by number. */
const REQUIREMENTS: readonly string[] = [
  "requests are read from the raw list of fields, and go on in order, repetition, case and bytes",
  "a head goes on whole or not at all, however many fields it has, in both directions",
  "a request's length is said in one unambiguous way, or it is refused",
  "bodies are framed anew, for every method; extensions are dropped and trailers filtered",
  "strict syntax in heads, trailers and chunk lines",
  "targets go on byte for byte, and lead to the configured upstream alone",
  "a broken request never takes the answer of one before it",
  "pipelined requests one at a time, in order, each its own answer, bounded",
  "after a refusal nothing of the connection is heard, and no rest of a body becomes a request",
  "fields of one connection stay on it, and Connection cannot strip what the proxy sends",
  "forwarding fields: a stranger is not believed, a trusted peer is added to; one Host",
  "an upstream connection is used again only when all was written and read and nobody said close",
  "sending again: by method, with the body held, once, within a budget, on the same arm",
  "every wait has its time, and progress is not cut",
  "Expect: 100-continue is answered once and never hangs; any other is 417",
  "upstreams that are names are resolved again, off the hot path",
  "a response that was cut stays cut",
  "status, reason and fields are checked before the first byte of an answer is sent",
  "a response's framing is unambiguous, or it is a 502; HEAD, 204, 304 and HTTP/1.0 get what they can take",
  "bytes behind a response reach nobody, and end the upstream connection",
  "informational responses: 102 and 103 passed on, 101 only when asked for, bounded",
  "heads and pieces are sent when they come, in latin1",
  "repeated response fields stay repeated; no second Date or Server",
  "both directions wait for the slower side, and hold little",
  "limits on by default, each with an answer that the client can read",
  "clocks for heads and bodies, on every request of a connection; a slow client is no failure of an upstream",
  "an idle connection outlives the balancer in front, and the head's time that of the idle one",
  "out of file descriptors: no exit, no busy loop, a log that stays readable",
  "nothing synchronous and nothing unbounded on the hot path; load is shed when the loop is late",
  "an error listener on every socket and stream from birth to end",
  "a client that leaves ends its upstream request at once, wherever it is",
  "upgrades: WebSocket only, both heads delivered, any other answer relayed, both sides end together",
  "what a client causes is no evidence about an arm; it can neither cause nor hide a rollback",
  "the split: the same key, the same side; raising moves one way; 0 % and 100 % are exact; no choosing",
  "a rollback is one-way, idempotent, local, and in force for the next request",
  "the state survives kill, torn files, full disks; what cannot be kept moves nothing forward",
  "monotonic clocks decide; a jump or a pause judges nothing",
  "a reload is all or nothing, and closes no listener",
  "a drain: not ready, no new ones, what is in flight finishes, what is late is cut, exit codes tell",
  "a worker that dies takes nothing of the others along, and comes back more and more slowly",
  "the admin API: its own listener, this machine alone unless guarded, never through the public one",
  "credentials: strong, compared in constant time, never shown, failures rate-limited, rights apart",
  "browsers: hosts allowed by name, origins refused, JSON for writes, reads change nothing",
  "admin input: bounded, checked against a schema, all its faults are 4xx; writes are atomic and versioned",
  "the admin listener has clocks and limits of its own; labels and log lines are bounded and escaped",
  "few pinned packages, advisories answered, no install scripts, a patched Node",
  "raw clients and upstreams, a differential fuzzer, the matrix of faults, leaks, kills in the middle",
  "HTTP/2 in: bounded streams, windows, headers, resets and floods; graceful ends",
  "HTTP/2 to HTTP/1.1: nothing that could be confused goes on, lengths are kept, trailers filtered",
  "gRPC end to end: trailers, statuses, cancellations, deadlines, flow control",
  "TLS: bounded handshakes, certificates replaced without loss, upstreams verified",
];

/** A text that ends with the numbers: a test's name. */
const NAME = /(["'`])(?:(?!\1)[^\\\n]|\\.)*\([^()\n]*\breliability (\d+(?:, \d+)*)[^()\n]*\)\1/g;

const FOLDER = fileURLToPath(new URL(".", import.meta.url));

/** The numbers in the names of a file's tests, a list for each test. */
function numbersIn(text: string): readonly (readonly number[])[] {
  return [...text.matchAll(NAME)].map((match) => (match[2] ?? "").split(", ").map(Number));
}

t.test("every requirement of the reliability list has a test that names it", async (t) => {
  const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".test.ts") || /^soak\b.*\.ts$/.test(name),
  );
  const tests = files.flatMap((name) => numbersIn(readFileSync(join(FOLDER, name), "utf8")));
  const named = new Set(tests.flat());
  const proven = REQUIREMENTS.filter((_, index) => named.has(index + 1)).length;
  // Not as a comment of the test: most reporters would swallow it.
  console.log(
    `reliability.md: ${proven} of ${REQUIREMENTS.length} requirements have a test, ${tests.length} tests name one`,
  );
  t.strictSame(
    REQUIREMENTS.map((what, index) => `${index + 1}: ${what}`).filter((_, index) => !named.has(index + 1)),
    [],
    "none is without",
  );
  t.strictSame(
    [...named].filter((number) => number < 1 || number > REQUIREMENTS.length),
    [],
    "and none is named that is not there",
  );
});

t.test(
  "the numbers are found at the end of a name, in each way they are written, and nowhere else",
  async (t) => {
    const found = numbersIn(`
    /** About this (reliability.md 9, A10). */
    t.test("one (reliability 1)", run);
    t.test('two, "quoted" (reliability 2, 30)', run);
    void inEveryLane(
      "three (acceptance 4; reliability 5; RFC 8441)",
    );
    t.test(\`of \${several} four (acceptance 6, reliability 7) \`, run);
    t.test(\`of \${several} five (reliability 8)\`, run);
    // not this one (reliability 11)
    t.equal(1, 1, "nor this, which is no (reliability 12) end");
  `);
    t.strictSame(found, [[1], [2, 30], [5], [8]]);
  },
);
