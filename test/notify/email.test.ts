/** Mail, over a real SMTP server on loopback. */

import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import t, { type Test } from "tap";
import type { Delivery } from "../../src/notify/channel.ts";
import { emailChannel, type EmailOptions } from "../../src/notify/email.ts";
import { createFanout } from "../../src/notify/fanout.ts";
import type { Notice } from "../../src/engine/ports.ts";
import { noticeOf, toldOf } from "../support/notices.ts";
import { textsOf } from "../support/tls.ts";

interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
  readonly isEncrypted: boolean;
  readonly user: unknown;
}

/** A mail server, and what it has taken. */
async function server(
  t: Test,
  options: SMTPServerOptions = {},
  onData?: (text: string) => Error | undefined,
) {
  const taken: Mail[] = [];
  const made = new SMTPServer({
    ...textsOf(""),
    authOptional: true,
    disabledCommands: ["AUTH"],
    onData(stream, session, done) {
      let text = "";
      stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      stream.on("end", () => {
        const error = onData?.(text);
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom === false ? "" : mailFrom.address;
        const to = rcptTo.map(({ address }) => address);
        if (error === undefined)
          taken.push({ from, to, text, isEncrypted: session.secure, user: session.user });
        done(error ?? null);
      });
    },
    ...options,
  });
  made.on("error", () => {});
  made.listen(0, "127.0.0.1");
  await once(made.server, "listening");
  t.teardown(() => new Promise<void>((resolve) => made.close(resolve)));
  const { port } = made.server.address() as AddressInfo; // a port was asked for
  return { taken, port };
}

function mailer(port: number, change: Partial<EmailOptions> = {}) {
  const { environment, clock } = toldOf();
  const options: EmailOptions = {
    smtp: `smtp://localhost:${port}`,
    login: undefined,
    startTls: "auto",
    from: "sluice@app.example",
    to: ["ops@app.example", "lead@app.example"],
    stakeholders: ["boss@app.example"],
    environment,
    console: undefined,
    allowPrivate: false,
    lookup: () => Promise.resolve(["127.0.0.1"]),
    clock,
    ...change,
  };
  return emailChannel(options);
}

function tell(
  port: number,
  notice: Notice = noticeOf(),
  change: Partial<EmailOptions> = {},
): Promise<Delivery> {
  return mailer(port, change).send({ id: notice.id, notice, attempt: 1 }, new AbortController().signal);
}

/** The fields of a mail, unfolded, by lower-case name. */
function fieldsOf(text: string): ReadonlyMap<string, string> {
  const head = text.split("\r\n\r\n", 1)[0] ?? "";
  const lines = head.replaceAll(/\r\n[ \t]+/g, " ").split("\r\n");
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 2)]),
  );
}

t.test(
  "a mail is plain text with what is known, encrypted where the server can, and says that a machine sent it",
  async (t) => {
    const { taken, port } = await server(t);
    t.same(await tell(port, noticeOf(), { console: "https://sluice.example/" }), { ok: true });
    const [mail] = taken;
    t.match(mail, {
      from: "sluice@app.example",
      to: ["ops@app.example", "lead@app.example"],
      isEncrypted: true,
    });
    const fields = fieldsOf(mail?.text ?? "");
    t.equal(
      fields.get("subject"),
      "[production] CRITICAL app: 5 % of requests failed, rolled back from 10 % to 0 %",
    );
    t.match(fields.get("content-type"), /^text\/plain/);
    t.equal(fields.get("auto-submitted"), "auto-generated");
    t.equal(fields.get("date"), "Mon, 05 Jan 2026 09:00:00 +0000");
    t.match(mail?.text, /error_rate > 1 %: 41 of 820\r\n/);
    t.match(mail?.text, /\r\nrollout: r-1\r\n[^]*console: https:\/\/sluice\.example\/\r\n/);
  },
);

t.test(
  "the mails of a rollout are one thread, and one that comes twice has the same Message-ID",
  async (t) => {
    const { taken, port } = await server(t);
    for (const id of ["one", "two", "one"]) await tell(port, noticeOf({ id }));
    await tell(port, noticeOf({ id: "three", rollout: "r-2" }));
    await tell(port, noticeOf({ id: "four", rollout: "" }));
    const ids = taken.map(({ text }) => fieldsOf(text).get("message-id") ?? "");
    const threads = taken.map(({ text }) => fieldsOf(text).get("references"));
    for (const id of ids) t.match(id, /^<[0-9a-f]{32}@app\.example>$/);
    t.equal(ids[0], ids[2]);
    t.equal(new Set(ids).size, 4);
    t.equal(threads[0], threads[1]);
    t.not(threads[0], threads[3]);
    t.equal(threads[4], undefined);
    t.equal(fieldsOf(taken[0]?.text ?? "").get("in-reply-to"), threads[0]);
  },
);

t.test("nothing of a message becomes a header, a recipient or a command", async (t) => {
  const { taken, port } = await server(t);
  const evil = "x\r\nBcc: thief@evil.example\r\n\r\n.\r\nRCPT TO:<thief@evil.example>\r\n";
  const notice = noticeOf({
    id: evil,
    summary: evil,
    route: evil,
    rollout: evil,
    event: evil,
    lines: [evil, evil, ".", "..x"],
  });
  t.same(await tell(port, notice), { ok: true });
  const { to, text } = taken[0] ?? { to: [], text: "" };
  t.same(to, ["ops@app.example", "lead@app.example"]);
  t.same([...fieldsOf(text).keys()].toSorted(), [
    "auto-submitted",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "in-reply-to",
    "message-id",
    "mime-version",
    "references",
    "subject",
    "to",
  ]);
  t.match(text, /\r\n\.\r\n\.\.x\r\n/, "a line that is a dot is one that is read");
});

t.test("those who are kept informed get what is written for them, and the others the rest", async (t) => {
  const { taken, port } = await server(t);
  const { incident: _, ...alone } = noticeOf({
    audience: "stakeholders",
    severity: "info",
    event: "daily_digest",
  });
  const interest = {
    severities: ["emergency"],
    audiences: ["operators", "stakeholders"],
    repeatMs: 0,
    digest: true,
  } as const;
  const told = toldOf();
  const parts = { ...told, wall: () => told.clock.wall() };
  for (const digest of [true, false]) {
    const fanout = createFanout([mailer(port, { interest: { ...interest, digest } })], parts);
    fanout.notify({ ...alone, id: `digest ${digest}` });
    fanout.notify({ ...alone, id: `final ${digest}`, event: "final_report" });
    fanout.notify(noticeOf({ id: `warning ${digest}`, severity: "warning" }));
    fanout.notify(noticeOf({ id: `page ${digest}`, severity: "emergency" }));
    await fanout.close();
  }
  t.same(
    taken.map(({ to }) => to[0]),
    ["boss@app.example", "boss@app.example", "ops@app.example", "boss@app.example", "ops@app.example"],
  );
  await tell(port, { ...alone, id: "alone" }, { stakeholders: [] });
  t.same(taken.at(-1)?.to, ["ops@app.example", "lead@app.example"]);
});

t.test("with a password: only encrypted, and only to a server whose certificate holds", async (t) => {
  const login = { user: "sluice", pass: "hunter2" };
  const onAuth: SMTPServerOptions["onAuth"] = ({ username, password }, _session, done) => {
    if (username === "sluice" && password === "hunter2") done(null, { user: username });
    else done(new Error("no"));
  };
  const good = await server(t, { onAuth, disabledCommands: [], authOptional: false });
  // The certificate is signed by nobody that this machine knows.
  t.match(await tell(good.port, noticeOf(), { login }), { ok: false, retry: true, isUnknown: false });
  const bare = await server(t, { onAuth, disabledCommands: ["STARTTLS"], authOptional: false });
  t.match(await tell(bare.port, noticeOf(), { login }), { ok: false, detail: /at STARTTLS$/ });
  t.same([good.taken, bare.taken], [[], []]);
  const open = await server(t, {
    onAuth,
    disabledCommands: ["STARTTLS"],
    authOptional: false,
    allowInsecureAuth: true,
  });
  t.same(await tell(open.port, noticeOf(), { login, startTls: "off" }), { ok: true });
  t.match(open.taken, [{ user: "sluice", isEncrypted: false }]);
  const wrong = await tell(open.port, noticeOf(), {
    login: { user: "sluice", pass: "hunter3" },
    startTls: "off",
  });
  t.match(wrong, { ok: false, retry: false, detail: /^status 535/ });
  t.notMatch(JSON.stringify(wrong), /hunter/);
  const required = await tell(bare.port, noticeOf(), { startTls: "required" });
  t.match(required, { ok: false, detail: /at STARTTLS$/ });
});

t.test(
  "what the server says decides: 4xx may pass, 5xx does not, and a part of the recipients is told",
  async (t) => {
    const refuse = (code: number) => Object.assign(new Error("no"), { responseCode: code });
    const busy = await server(t, {}, () => refuse(451));
    t.match(await tell(busy.port), { ok: false, retry: true, detail: "status 451 at DATA" });
    const never = await server(t, {}, () => refuse(554));
    t.match(await tell(never.port), { ok: false, retry: false, detail: "status 554 at DATA" });
    const half = await server(t, {
      onRcptTo: ({ address }, _session, done) => done(address.startsWith("lead") ? refuse(550) : null),
    });
    t.same(await tell(half.port), { ok: true, detail: "refused for 1 of 2 recipients" });
  },
);

t.test(
  "a server that falls silent: nothing has arrived before DATA, and after it nobody knows",
  async (t) => {
    const said = { greeting: "", data: "220 x\r\n" };
    for (const [at, greeting] of Object.entries(said)) {
      const sockets = new Set<Socket>();
      const replies = ["250-x\r\n250 8BITMIME\r\n", "250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"];
      const silent = createServer((socket) => {
        sockets.add(socket);
        let next = 0;
        socket.on("error", () => {});
        if (greeting !== "") socket.write(greeting);
        // One reply for each command; then silence.
        socket.on("data", (chunk) => {
          for (const _ of chunk.toString("latin1").matchAll(/^(EHLO|MAIL|RCPT|DATA)/gm))
            socket.write(replies[next++] ?? "");
        });
      }).listen(0, "127.0.0.1");
      await once(silent, "listening");
      t.teardown(() => {
        for (const each of sockets) each.destroy();
        silent.close();
      });
      const { port } = silent.address() as AddressInfo; // a port was asked for
      const told = toldOf();
      const channel = mailer(port);
      const fanout = createFanout(
        [channel],
        { ...told, wall: () => told.clock.wall() },
        { timeoutMs: 200, retries: 1, backoffMs: 1 },
      );
      fanout.notify(noticeOf());
      await fanout.close();
      const expected =
        at === "data" ? { failed: 1, dropped: 0, inDoubt: 1 } : { failed: 2, dropped: 1, inDoubt: 0 };
      t.match(fanout.stats()["email"], expected, at);
    }
  },
);

t.test("a mail server at a metadata address is not spoken to, whatever its name", async (t) => {
  const lookup = (): Promise<readonly string[]> => Promise.resolve(["169.254.169.254"]);
  const why = { ok: false, retry: false, detail: /169\.254\.169\.254, which is refused/ };
  t.match(await tell(25, noticeOf(), { lookup }), why);
  t.match(await tell(25, noticeOf(), { smtp: "smtp://169.254.169.254:25" }), why);
});
