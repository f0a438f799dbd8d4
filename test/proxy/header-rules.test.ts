/**
 * The one table of field rules (headers.ts), held to its words by lists that nobody chose: whatever a client or an upstream sends, what goes
 * on has no field of one connection, no byte that ends a line, one host, one framing at the most, and everything else as it came
 * (reliability.md A1–A4, B10, B11, C18, C19). The words are written down here a second time, on purpose.
 */

import fc from "fast-check";
import { BlockList } from "node:net";
import t from "tap";
import { originOf } from "../../src/proxy/forwarding.ts";
import { outgoingFields } from "../../src/proxy/general/outgoing.ts";
import {
  cleanTrailers,
  copyRequestFields,
  readRequestHead,
  readResponseFields,
} from "../../src/proxy/headers.ts";
import { fakeDice } from "../support/dice.ts";

const RUNS = { numRuns: 4000 };
const LIMITS = { head: 65_536, fields: 100, url: 8192, body: 1_000_000 };
const ONE_CONNECTION = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "trailer",
  "http2-settings",
];
const OWN = [
  "host",
  "content-length",
  "expect",
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
];
const KEPT_WHATEVER_CONNECTION_SAYS =
  /^(?:host|content-length|content-type|cookie|set-cookie|authorization|x-request-id|via|forwarded|x-forwarded-.+)$/;
const NEVER_IN_A_TRAILER = [
  "host",
  "content-length",
  "content-type",
  "authorization",
  "cookie",
  "set-cookie",
  "range",
];
const DICE = fakeDice(3);

/** A name in some mixture of upper and lower case. */
const inAnyCase = (names: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...names), fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }))
    .map(([name, upper]) =>
      Array.from(name, (each, at) => (upper[at % 8] === true ? each.toUpperCase() : each)).join(""),
    );
const ORDINARY = [
  "x-a",
  "x-b",
  "x-c",
  "accept",
  "vary",
  "set-cookie",
  "date",
  "server",
  "__proto__",
  "x_forwarded_foo",
  "age",
];
const ALIASES = [
  "x_forwarded_for",
  "x-forwarded_for",
  "x_forwarded-for",
  "x_forwarded_proto",
  "x-forwarded_host",
  "x_forwarded_port",
  "x-forwarded-client_cert",
];
const SPECIAL = [
  ...ONE_CONNECTION,
  ...OWN,
  ...ALIASES,
  "cookie",
  "authorization",
  "via",
  "x-request-id",
  "content-type",
];
/** Parsers see to it that names are tokens; values are anything that fits in a line, and now and then what does not. */
const name = fc.oneof(
  { weight: 3, arbitrary: inAnyCase(ORDINARY) },
  { weight: 2, arbitrary: inAnyCase(SPECIAL) },
);
const char = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom(...Array.from('ab09,; ="/.:-\t')) },
  { weight: 10, arbitrary: fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)) },
);
const control = fc.constantFrom("\r", "\n", "\0", "\r\nEvil: 1", "\x01", "\x7f", "\x1b");
const plainValue = fc.string({ unit: char, maxLength: 12 });
const anyValue = fc.oneof(
  { weight: 40, arbitrary: plainValue },
  { weight: 1, arbitrary: fc.tuple(plainValue, control, plainValue).map((parts) => parts.join("")) },
);
const listed = fc
  .array(fc.oneof(inAnyCase(SPECIAL), inAnyCase(ORDINARY)), { maxLength: 4 })
  .map((names) => names.join(" ,\t"));
const length = fc.constantFrom("0", "5", "005", "+5", "5, 5", "", "5 ", "9007199254740993");
const coding = fc.constantFrom("chunked", "Chunked", "gzip, chunked", "identity", "");

/** Most heads have one Host and at most one framing, or nearly all would be refused; the rest is what it is. */
const lone = fc.oneof(
  fc.constant<string[]>([]),
  length.map((value) => ["Content-Length", value]),
  coding.map((value) => ["transfer-encoding", value]),
);
const field = fc.tuple(name, anyValue).map(([each, value]): string[] => [each, value]);
const ordinary = field.filter(
  ([each = ""]) => !["host", "content-length", "transfer-encoding"].includes(each.toLowerCase()),
);
const connection = listed.map((value) => ["Connection", value]);
const host = fc.constantFrom(["Host", "app.example"], ["hOST", "[::1]:80"]);
const fields = fc
  .oneof(
    {
      weight: 6,
      arbitrary: fc.tuple(
        host,
        fc.array(
          fc.oneof(
            { weight: 5, arbitrary: ordinary },
            { weight: 1, arbitrary: connection },
            {
              weight: 1,
              arbitrary: fc.oneof({ weight: 9, arbitrary: ordinary }, { weight: 1, arbitrary: host }),
            },
          ),
          {
            maxLength: 8,
          },
        ),
        lone,
      ),
    },
    { weight: 1, arbitrary: fc.tuple(fc.constant<string[]>([]), fc.array(field, { maxLength: 8 }), lone) },
  )
  .map(([first, rest, framing]) => [...first, ...rest.flat(), ...framing]);

function valuesOf(list: readonly string[], wanted: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < list.length; at += 2)
    if (list[at]!.toLowerCase() === wanted) values.push(list[at + 1]!);
  return values;
}

function namesIn(list: readonly string[]): string[] {
  return list.filter((_, at) => at % 2 === 0).map((each) => each.toLowerCase());
}

/** What Connection names, and may take with it. */
function takenBy(list: readonly string[]): string[] {
  return valuesOf(list, "connection")
    .flatMap((value) => value.split(","))
    .map((each) => each.trim().toLowerCase())
    .filter((each) => !KEPT_WHATEVER_CONNECTION_SAYS.test(each));
}

/** The list without some names. */
function without(list: readonly string[], names: readonly string[]): string[] {
  return list.filter((_, at) => !names.includes(list[at - (at % 2)]!.toLowerCase()));
}

/** Whether something in a text ends a line, a text, or a terminal's patience. */
function isUnsendable(text: string): boolean {
  return Array.from(text, (each) => each.charCodeAt(0)).some(
    (code) => (code < 0x20 && code !== 0x09) || code === 0x7f,
  );
}

/** Whether a body's length is said in one of the three ways there are, and which. */
function framingOf(list: readonly string[], version: string): "none" | "length" | "chunked" | undefined {
  const [lengths, codings] = [valuesOf(list, "content-length"), valuesOf(list, "transfer-encoding")];
  if (lengths.length + codings.length > 1) return undefined;
  if (codings.length === 1)
    return version === "1.1" && codings[0]!.toLowerCase() === "chunked" ? "chunked" : undefined;
  if (lengths.length === 0) return "none";
  if (!/^[0-9]+$/.test(lengths[0]!) || Number(lengths[0]) > Number.MAX_SAFE_INTEGER) return undefined;
  return Number(lengths[0]) === 0 ? "none" : "length";
}

t.test(
  "a request is refused exactly when its host or its framing is ambiguous or a value cannot be sent (reliability 1, 3, 5)",
  async (t) => {
    let accepted = 0;
    fc.assert(
      fc.property(fields, fc.constantFrom("1.1", "1.0"), (list, version) => {
        const head = readRequestHead("POST", "/a?b", version, list, LIMITS);
        const framing = framingOf(list, version);
        const hosts = valuesOf(list, "host");
        const isHostFine =
          hosts.length === 1 ? /^[^\s/@"]+$/.test(hosts[0]!) : hosts.length === 0 && version === "1.0";
        const isFine = framing !== undefined && isHostFine && !list.some(isUnsendable);
        if (head.refusal === undefined) {
          accepted++;
          return framing === head.framing && hosts.length <= 1 && !list.some(isUnsendable);
        }
        // Of a host this test knows less than the table: what looks fine here may be none.
        return !isFine || (hosts.length === 1 && !/^[a-z.]+$|^\[::1\]:80$/.test(hosts[0]!));
      }),
      RUNS,
    );
    t.ok(accepted > RUNS.numRuns / 4, `${accepted} were accepted`);
  },
);

t.test(
  "what goes upstream has no field of one connection, none that Connection names, one host, one framing, and the rest as it came (reliability 1, 4, 10, 11)",
  async (t) => {
    let sent = 0;
    fc.assert(
      fc.property(fields, fc.boolean(), fc.constantFrom("", "x-a"), (list, isTrusted, drop) => {
        const head = readRequestHead("POST", "/", "1.1", list, LIMITS);
        if (head.refusal !== undefined) return true;
        sent++;
        const trusted = new BlockList();
        if (isTrusted) trusted.addAddress("10.0.0.1");
        const origin = originOf("10.0.0.1", list, trusted, isTrusted);
        const out = outgoingFields({ head, fields: list, origin, proto: "http", version: "1.1" }, drop, DICE);
        const names = namesIn(out);
        const once = (each: string): boolean => names.filter((other) => other === each).length === 1;
        const family = namesIn(list).filter(
          (each) => /^x[-_]forwarded[-_]/.test(each) && (!isTrusted || each.includes("_")),
        );
        const taken = [...takenBy(list), ...family.filter((each) => !OWN.includes(each))];
        const gone = [...ONE_CONNECTION, "expect", ...taken, ...(drop === "" ? [] : [drop])];
        const ours = [...OWN, ...ALIASES, ...gone];
        const came = without(list, ours);
        const went = without(out, [...ours, "via", "x-request-id"]);
        return (
          !names.some((each) => gone.includes(each) || ALIASES.includes(each)) &&
          !out.some(isUnsendable) &&
          once("host") &&
          valuesOf(out, "host")[0] === head.host &&
          ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].every(once) &&
          names.filter((each) => each === "content-length").length === (head.framing === "length" ? 1 : 0) &&
          (isTrusted || valuesOf(out, "x-forwarded-for")[0] === "10.0.0.1") &&
          valuesOf(out, "x-forwarded-for")[0]!.endsWith("10.0.0.1") &&
          valuesOf(out, "via").at(-1) === "1.1 sluice" &&
          JSON.stringify(went) === JSON.stringify(without(came, ["via", "x-request-id"]))
        );
      }),
      RUNS,
    );
    t.ok(sent > RUNS.numRuns / 4, `${sent} were sent`);
  },
);

t.test("what was passed on once is passed on again unchanged (reliability 10)", async () => {
  fc.assert(
    fc.property(fields, (list) => {
      const head = readRequestHead("POST", "/", "1.1", list, LIMITS);
      if (head.refusal !== undefined) return true;
      const first: string[] = [];
      copyRequestFields(first, list, head.connection, "");
      const again: string[] = [];
      copyRequestFields(again, first, [], "");
      return JSON.stringify(first) === JSON.stringify(again);
    }),
    RUNS,
  );
  fc.assert(
    fc.property(fields, fc.constantFrom(200, 204, 304, 103), (list, status) => {
      const { malformed, fields: first } = readResponseFields(status, "OK", list);
      if (malformed !== "") return true;
      const again = readResponseFields(status, "OK", first);
      return again.malformed === "" && JSON.stringify(again.fields) === JSON.stringify(first);
    }),
    RUNS,
  );
});

t.test(
  "a response is malformed exactly when its framing is ambiguous or a value cannot be sent, and what passes is as it came (reliability 10, 18, 19, 23)",
  async (t) => {
    let passed = 0;
    fc.assert(
      fc.property(fields, fc.constantFrom(200, 204, 304, 404, 500, 99, 600), (list, status) => {
        const head = readResponseFields(status, "OK", list);
        const isFine =
          status >= 100 && status <= 599 && framingOf(list, "1.1") !== undefined && !list.some(isUnsendable);
        if (head.malformed !== "") return !isFine && head.fields.length === 0;
        passed++;
        const gone = [...ONE_CONNECTION, ...takenBy(list), ...(status === 204 ? ["content-length"] : [])];
        return isFine && JSON.stringify(head.fields) === JSON.stringify(without(list, gone));
      }),
      RUNS,
    );
    t.ok(passed > RUNS.numRuns / 4, `${passed} passed`);
  },
);

t.test(
  "a trailer brings no framing, no host, no credentials and no byte that cannot be sent, and the rest as it came (reliability 4, 5)",
  async () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 8 }), (given) => {
        const list = given.flat();
        const out = cleanTrailers(list);
        const ordinaryOnly = list.filter((_, at) => {
          const [each, value] = [list[at - (at % 2)]!.toLowerCase(), list[at - (at % 2) + 1]!];
          return /^(?:x-[abc]|accept|__proto__|server)$/.test(each) && !isUnsendable(value);
        });
        const wentOrdinary = out.filter((_, at) =>
          /^(?:x-[abc]|accept|__proto__|server)$/i.test(out[at - (at % 2)]!),
        );
        return (
          !namesIn(out).some((each) => ONE_CONNECTION.includes(each) || NEVER_IN_A_TRAILER.includes(each)) &&
          !out.some(isUnsendable) &&
          JSON.stringify(cleanTrailers(out)) === JSON.stringify(out) &&
          JSON.stringify(wentOrdinary) === JSON.stringify(ordinaryOnly)
        );
      }),
      RUNS,
    );
  },
);
