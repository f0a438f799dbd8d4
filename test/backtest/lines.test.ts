import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import t from "tap";
import { isoTime, localTime } from "../../src/backtest/dates.ts";
import { envoyReader } from "../../src/backtest/envoy.ts";
import { readJson } from "../../src/backtest/json.ts";
import { emptyLine, type Line, type Reader } from "../../src/backtest/line.ts";
import { LogFile, type LogOptions } from "../../src/backtest/log-file.ts";
import { NGINX_FORMAT, nginxReader } from "../../src/backtest/nginx.ts";
import { Merge, type Source } from "../../src/backtest/source.ts";
import { compile } from "../../src/backtest/template.ts";

const CANARIES = new Set(["10.0.0.9:8080"]);
const folder = mkdtempSync(join(tmpdir(), "sluice-lines-"));
const OPTIONS: LogOptions = {
  format: undefined,
  layout: undefined,
  canaries: CANARIES,
  stdin: Readable.from([]),
};

/** What a reader makes of a text; the reason when it cannot be read. */
function read(reader: Reader, text: string): Line | string {
  const line = emptyLine();
  const bytes = Buffer.from(`«${text}»`);
  const wrong = reader(bytes, 2, bytes.length - 2, line);
  return wrong === "" ? line : wrong;
}

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Every line of a source, as `key`s. */
async function keysOf(sources: readonly Source[]): Promise<readonly string[]> {
  const merge = new Merge(sources);
  const keys: string[] = [];
  for (;;) {
    const source = merge.next();
    if (source !== undefined) keys.push(source.line.key);
    else if (!(await merge.fill())) return keys;
  }
}

t.test("dates are read as the platform reads them, and what is no date is none", async (t) => {
  const iso = (text: string): number => isoTime(Buffer.from(text), 0, text.length);
  for (const text of [
    "2026-11-27T17:53:34Z",
    "2026-11-27T17:53:34.5Z",
    "2026-11-27T17:53:34.123+01:00",
    "2024-02-29T23:59:59-0730",
    "2027-01-01T00:00:00.001Z",
  ])
    t.equal(iso(text), Date.parse(text.replace(/([+-]\d\d)(\d\d)$/, "$1:$2")), text);
  for (const text of [
    "",
    "yesterday",
    "2026-11-27",
    "2026-13-27T17:53:34Z",
    "2026-11-27T25:53:34Z",
    "2026-11-27T17:53:34",
  ])
    t.ok(Number.isNaN(iso(text)), text);
  const local = (text: string): number => localTime(Buffer.from(text), 0, text.length);
  t.equal(local("27/Nov/2026:17:53:34 +0000"), Date.UTC(2026, 10, 27, 17, 53, 34));
  t.equal(local("01/Jan/2027:00:30:00 +0100"), Date.UTC(2026, 11, 31, 23, 30));
  for (const text of ["27/Now/2026:17:53:34 +0000", "27/Nov/2026:17:53:34", "27/Nov/2026:17:53:3x +0000"])
    t.ok(Number.isNaN(local(text)), text);
});

t.test("an own line needs a time and a status, and says what is wrong with it", async (t) => {
  t.match(
    read(
      readJson,
      '{"time":"2026-11-27T17:53:34.123Z","route":"app","arm":"canary","status":503,"ms":12.5,"method":"GET",' +
        '"path":"/a?b=\\"c,d\\"","key":"9f3a","forced":true,"traceId":"4bf9","later":1}',
    ),
    {
      at: Date.UTC(2026, 10, 27, 17, 53, 34, 123),
      route: "app",
      arm: "canary",
      status: 503,
      reason: "status",
      latencyUs: 12_500,
      method: "GET",
      target: '/a?b="c,d"',
      key: "9f3a",
      forced: true,
      traceId: "4bf9",
    },
  );
  t.match(read(readJson, '{"time":5,"status":200}'), {
    at: 5,
    arm: "",
    reason: "ok",
    latencyUs: -1,
    key: "",
  });
  t.match(read(readJson, '{"time":5,"status":499}'), { reason: "client_gone" });
  t.match(read(readJson, '{"time":5,"status":0,"reason":"timeout","ms":null}'), {
    reason: "timeout",
    latencyUs: -1,
  });
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['{"time":5,"status":200', /not JSON/],
    ["[1]", /not a JSON object/],
    ["null", /not a JSON object/],
    ['{"status":200}', /`time`/],
    ['{"time":"soon","status":200}', /`time`/],
    ['{"time":5,"status":"200"}', /`status`/],
    ['{"time":5,"status":1e9}', /`status`/],
    ['{"time":5,"status":0}', /no `reason`/],
    ['{"time":5,"status":200,"arm":"blue"}', /`arm`/],
    ['{"time":5,"status":200,"ms":-1}', /`ms`/],
    ['{"time":5,"status":500,"reason":"toString"}', /`reason`/],
  ];
  for (const [text, reason] of wrong) t.match(read(readJson, text), reason, text);
});

const COMBINED =
  '10.1.2.3 - - [27/Nov/2026:17:53:34 +0000] "GET /a?b HTTP/1.1" STATUS 15 "-" "curl/8 \\x22quoted\\x22"';

t.test("a line of NGINX is its first attempt's, whatever the client got in the end", async (t) => {
  const reader = nginxReader(NGINX_FORMAT, CANARIES)!;
  const line = (status: number, tail: string): Line | string =>
    read(reader, COMBINED.replace("STATUS", String(status)) + tail);
  t.match(line(200, " 0.012 10.0.0.1:8080"), {
    at: Date.UTC(2026, 10, 27, 17, 53, 34),
    arm: "stable",
    status: 200,
    reason: "ok",
    latencyUs: 12_000,
    key: "10.1.2.3",
  });
  t.match(line(500, " 0.012 10.0.0.9:8080"), {
    arm: "canary",
    reason: "status",
    method: "GET",
    target: "/a?b",
  });
  t.match(
    line(200, " 0.012 10.0.0.9:8080 0.011 200"),
    { latencyUs: 11_000 },
    "the upstream's own time is better",
  );
  t.match(line(200, " 0.500 10.0.0.9:8080, 10.0.0.1:8080 0.480, 0.020 502, 200"), {
    arm: "canary",
    status: 502,
    reason: "status",
    latencyUs: 480_000,
  });
  t.match(line(200, " 0.500 10.0.0.9:8080, 10.0.0.1:8080"), {
    arm: "canary",
    reason: "connect",
    status: 502,
    latencyUs: -1,
  });
  t.match(line(200, " 0.500 10.0.0.9:8080, 10.0.0.1:8080 -, 0.020 -, 200"), {
    reason: "connect",
    latencyUs: -1,
  });
  t.match(line(200, " 0.500 10.0.0.1:8080 : 10.0.0.9:8080 0.100 : 0.400 404 : 200"), {
    arm: "stable",
    status: 404,
    reason: "ok",
    latencyUs: 100_000,
  });
  t.match(line(301, " 0.000 -"), { arm: "", reason: "refused" }, "answered by NGINX itself");
  t.match(line(503, " 0.000 - - -"), { reason: "refused" }, "a limit of NGINX's own");
  t.match(line(499, " 1.000 10.0.0.9:8080 - -"), { reason: "client_gone" });
  t.match(line(504, " 1.000 unix:/run/app.sock 1.000 504"), { arm: "stable", reason: "status", status: 504 });
  t.match(line(200, ""), { arm: "", reason: "ok", latencyUs: -1 }, "plain combined");
  t.match(line(200, " 0.012"), { arm: "", reason: "ok", latencyUs: 12_000 });
  for (const tail of [
    " what 10.0.0.1:8080 0.1 200 more",
    " 0.012 10.0.0.1:8080 x 200",
    " 0.012 10.0.0.1:8080 0.1 x",
  ])
    t.match(line(200, tail), /laid out|not numbers|status/, tail);
  t.match(line(99, " 0.012 10.0.0.1:8080"), /status/);
  t.match(read(reader, COMBINED.replace("STATUS", "200").replace("Nov", "Nev")), /time/);
  for (const end of [0, 3, 20, 60, 80, 95])
    t.type(read(reader, COMBINED.replace("STATUS", "200").slice(0, end)), "string", `cut after ${end}`);
});

t.test("another log_format is read as it is spelt, and refused when it does not tell enough", async (t) => {
  const reader = nginxReader(
    '$msec|${remote_addr}|"$http_x_forwarded_for"|$request_method $request_uri|$status|rt=$request_time uht="$upstream_header_time" ua="$upstream_addr"',
    CANARIES,
  )!;
  t.match(
    read(
      reader,
      '1764266014.250|10.0.0.2|"203.0.113.7, 10.0.0.2"|GET /x|500|rt=0.300 uht="0.100, 0.200" ua="10.0.0.9:8080, 10.0.0.1:8080"',
    ),
    {
      at: 1_764_266_014_250,
      key: "203.0.113.7",
      arm: "canary",
      latencyUs: 100_000,
      method: "GET",
      target: "/x",
      reason: "connect",
    },
  );
  const dated = nginxReader("$time_iso8601 $remote_user $status", CANARIES)!;
  t.match(read(dated, "2026-11-27T17:53:34+00:00 ann 200"), {
    key: "ann",
    at: Date.UTC(2026, 10, 27, 17, 53, 34),
  });
  for (const format of ["", "plain text", "$status", "$time_local", "$status$time_local", "$msec $request"])
    t.equal(nginxReader(format, CANARIES), undefined, format);
  t.equal(compile("nothing", []), undefined);
});

t.test("a line of Envoy is of its end, and its response flags say why it ended", async (t) => {
  const reader = envoyReader(CANARIES);
  const line = (status: number, flags: string, service = "11", upstream = "10.0.0.9:8080"): Line | string =>
    read(
      reader,
      `[2026-11-27T17:53:34.000Z] "POST /a/b HTTP/1.1" ${status} ${flags} 10 20 250 ${service} "203.0.113.7,10.0.0.2" "agent with "quotes"" "id-1" "shop.example" "${upstream}"`,
    );
  t.match(line(200, "-"), {
    at: Date.UTC(2026, 10, 27, 17, 53, 34, 250),
    arm: "canary",
    key: "203.0.113.7",
    reason: "ok",
    latencyUs: 11_000,
  });
  t.match(line(200, "-", "-", "10.0.0.1:8080"), { arm: "stable", latencyUs: 250_000 });
  const flags: readonly (readonly [number, string, string])[] = [
    [503, "UF,URX", "connect"],
    [503, "UH", "connect"],
    [504, "UT", "timeout"],
    [503, "UC", "reset"],
    [200, "UC", "cut"],
    [0, "DC", "client_gone"],
    [200, "DC", "client_gone"],
    [0, "-", "client_gone"],
    [0, "XX", "reset"],
    [502, "UPE", "malformed"],
    [429, "RL", "refused"],
    [503, "UO", "unavailable"],
    [500, "-", "status"],
    [503, "URX", "status"],
  ];
  for (const [status, flag, reason] of flags)
    t.match(line(status, flag, "-"), { reason }, `${status} ${flag}`);
  t.match(line(503, "UH", "-", "-"), { arm: "", target: "/a/b", method: "POST" });
  for (const [status, flag] of [
    [20, "-"],
    [2000, "-"],
  ] as const)
    t.match(line(status, flag), /status/);
  t.match(read(reader, '[2026-11-27T17:53:34.000Z] "GET / HTTP/1.1" 200 -'), /laid out/);
  t.match(read(reader, `[nonsense] "GET / H" 200 - 1 1 x 1 "-" "-" "-" "-" "-"`), /duration/);
  t.match(read(reader, `[nonsense] "GET / H" 200 - 1 1 1 1 "-" "-" "-" "-" "-"`), /time/);
});

t.test(
  "a log is read whatever its lines end with, gzipped or piped, and says where it cannot be read",
  async (t) => {
    const good = (key: string): string => `{"time":5,"status":200,"key":"${key}"}`;
    const mixed = [
      `\ufeff${good("a")}\r`,
      "",
      good("b"),
      "{",
      `{"time":5,"x":"${"y".repeat(70_000)}"}`,
      "\u0000\u0001\u00ff",
      good("c"),
      good("d"),
      good("e"),
    ];
    for (const [name, content] of [
      ["mixed.log", Buffer.from(mixed.join("\n"))],
      ["mixed.log.gz", gzipSync(mixed.join("\n"))],
    ] as const) {
      const log = await LogFile.open(file(name, content), OPTIONS);
      t.equal(log.format, "json");
      t.same(await keysOf([log]), ["a", "b", "c", "d", "e"], name);
      t.equal(log.lines, 8);
      t.equal(log.bad, 3);
      t.same(
        log.told.map((each) => each.replace(/^.*\//, "")),
        [`${name}:4: it is not JSON`, `${name}:5: it is longer than 64 KiB`, `${name}:6: it is not JSON`],
      );
    }
    const piped = Readable.from([Buffer.from(good("p").slice(0, 9)), Buffer.from(`${good("p").slice(9)}\n`)]);
    t.same(await keysOf([await LogFile.open("-", { ...OPTIONS, stdin: piped })]), ["p"]);
    const endless = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from(`${good("a")}\n${good("b")}\n`);
      for (let nth = 0; nth < 40; nth++) yield Buffer.alloc(1024 * 1024, "x");
      yield Buffer.from(`\n${good("c")}\n`);
    };
    const long = await LogFile.open("-", { ...OPTIONS, stdin: endless() });
    t.same(await keysOf([long]), ["a", "b", "c"], "a line without an end does not fill the memory");
    t.same(long.told, ["-:3: it is longer than 64 KiB"]);
  },
);

t.test("a log most of whose lines cannot be read is refused with its first ones", async (t) => {
  const refused = async (name: string, content: string | Buffer, more: object = {}): Promise<void> => {
    const opened = LogFile.open(file(name, content), { ...OPTIONS, ...more }).then((log) => keysOf([log]));
    await t.rejects(opened, { code: "SPLIT_LOG_UNREADABLE" }, name);
  };
  await refused(
    "early.log",
    '{"time":-5,"status":200}\n{"time":1e15,"status":200}\n{"time":5,"status":200}\n',
  );
  await refused("short.log", '{"time":5,"status":200}\nx\ny\n');
  await refused("long.log", "x\n".repeat(5000), { format: "nginx" });
  await refused("binary.log", Buffer.from(Array.from({ length: 10_000 }, (_, nth) => (nth * 7919) % 256)));
  await refused("other.log", '{"time":5,"status":200}\n', { format: "envoy" });
  await refused("cut.gz", gzipSync("x".repeat(1000)).subarray(0, 20));
  await refused("text.gz", "this is not gzip");
  await t.rejects(LogFile.open(join(folder, "none.log"), OPTIONS), { message: /there is no such file/ });
  await t.rejects(LogFile.open(folder, OPTIONS), { message: /it is a folder/ });
  await t.rejects(LogFile.open(file("a.log", "x"), { ...OPTIONS, layout: "$status" }), {
    code: "SPLIT_USAGE",
  });
});

t.test("several logs are one, in order of time, in whichever order they are named", async (t) => {
  const log = (name: string, times: readonly number[]): Promise<LogFile> =>
    LogFile.open(
      file(name, times.map((time) => `{"time":${time},"status":200,"key":"${time}"}`).join("\n")),
      OPTIONS,
    );
  const sources = [
    await log("late", [7, 8, 9]),
    await log("empty", []),
    await log("a", [1, 4, 6]),
    await log("b", [2, 3, 5]),
  ];
  t.same(await keysOf(sources), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  t.equal(await log("c", [1]).then((each) => each.hasCanary), false);
  const both = await LogFile.open(file("both", '{"time":5,"status":200,"arm":"canary"}\n'), OPTIONS);
  t.ok(both.hasCanary);
});
