/**
 * Mail, as plain text. Message-ID and References follow from what the message is about, so that the mails of one rollout are one thread in a mail program, and one
 * that was sent twice all the same can be told. The only door to the mailer.
 *
 * Nothing of a message can become a header: it is one line before it gets there. Encryption: `smtps:` from the first byte; over `smtp:` with STARTTLS
 * where the server has it, and only with it where a password is sent.
 */

import { createHash } from "node:crypto";
import { connect, isIP, type Socket } from "node:net";
import { createTransport, type NodemailerError } from "nodemailer";
import { checkHost, lookupOf, RefusedAddress, type Lookup } from "../config/address.ts";
import { bareHost } from "../domain/host.ts";
import type { Clock, Notice } from "../engine/ports.ts";
import type { Channel, Delivery, Failed, Interest, Message } from "./channel.ts";
import { bodyOf, headOf, lineOf } from "./text.ts";

/** Where to, and as whom. */
export interface EmailOptions {
  /** `smtp:` or `smtps:`, without credentials. */
  readonly smtp: string;
  readonly login: { readonly user: string; readonly pass: string } | undefined;
  /** `auto`: encrypted where the server can, with any certificate; `required`: or not at all, and the certificate must hold. */
  readonly startTls: "auto" | "required" | "off";
  readonly from: string;
  readonly to: readonly string[];
  /** Those who are kept informed; empty: the same. */
  readonly stakeholders: readonly string[];
  readonly environment: string;
  /** Where people see more. */
  readonly console: string | undefined;
  readonly allowPrivate: boolean;
  readonly lookup: Lookup;
  readonly clock: Pick<Clock, "wall">;
  readonly interest?: Interest;
  readonly perMinute?: number;
}

const CONNECT_MS = 5000;
/** Less than an attempt may take: what the server says is better than that it said nothing in time. */
const SILENCE_MS = 9000;
const MOST_SUBJECT = 200;

/** A channel to a mail server; a connection for each mail. */
export function emailChannel(options: EmailOptions): Channel {
  const { interest, perMinute } = options;
  const sending = new Set<AbortController>();
  return {
    name: "email",
    isKeyed: false,
    ...(interest === undefined ? {} : { interest }),
    ...(perMinute === undefined ? {} : { perMinute }),
    async send(message, signal) {
      const ended = new AbortController();
      sending.add(ended);
      try {
        return await send(options, message, AbortSignal.any([signal, ended.signal]));
      } finally {
        sending.delete(ended);
      }
    },
    async close() {
      for (const each of sending) each.abort();
    },
  };
}

async function send(options: EmailOptions, message: Message, signal: AbortSignal): Promise<Delivery> {
  // The server may have taken it as soon as it was asked to: DATA.
  let isBegun = false;
  const transport = transportOf(options, (command) => (isBegun ||= command === "DATA"));
  try {
    const { rejected } = await transport.sendMail({ ...mailOf(options, message), signal });
    if (rejected.length === 0) return { ok: true };
    return {
      ok: true,
      detail: `refused for ${rejected.length} of ${recipientsOf(options, message.notice).length} recipients`,
    };
  } catch (error) {
    return failureOf(error, isBegun);
  } finally {
    transport.close();
  }
}

function transportOf(options: EmailOptions, onCommand: (command: string) => void) {
  const { smtp, login, startTls } = options;
  const url = new URL(smtp);
  const { protocol, port } = url;
  const host = bareHost(url.hostname);
  const secure = protocol === "smtps:";
  const to = Number(port === "" ? (secure ? 465 : 25) : port);
  const isLoose = startTls === "auto" && login === undefined && !secure;
  const silent = (): void => {};
  return createTransport({
    host,
    port: to,
    secure,
    ...(login === undefined ? {} : { auth: login }),
    ...(startTls === "off" ? { ignoreTLS: true } : {}),
    ...(startTls === "required" || (startTls === "auto" && login !== undefined)
      ? { requireTLS: !secure }
      : {}),
    // Of an address the name in a certificate is the address itself.
    tls: { rejectUnauthorized: !isLoose, ...(isIP(host) === 0 ? { servername: host } : {}) },
    greetingTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
    transactionLog: true,
    logger: {
      level: silent,
      trace: silent,
      debug: (entry: { readonly tnx?: string }, command: unknown) => {
        if (entry.tnx === "client" && typeof command === "string") onCommand(command);
      },
      info: silent,
      warn: silent,
      error: silent,
      fatal: silent,
    },
    getSocket: (
      _options: unknown,
      done: (error: Error | null, found: { connection: Socket } | false) => void,
    ) => {
      dial(options, host, to).then(
        (connection) => done(null, { connection }),
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error)), false),
      );
    },
  });
}

/** A connection to where the name leads now, if it may lead there. */
function dial({ lookup, allowPrivate }: EmailOptions, host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (!allowPrivate) checkHost(host);
    const socket = connect({ host, port, lookup: lookupOf(lookup, !allowPrivate) });
    socket.setTimeout(CONNECT_MS, () =>
      socket.destroy(Object.assign(new Error("no connection"), { code: "ETIMEDOUT" })),
    );
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeListener("error", reject);
      resolve(socket);
    });
  });
}

function recipientsOf({ to, stakeholders }: EmailOptions, { audience }: Notice): readonly string[] {
  return audience === "stakeholders" && stakeholders.length > 0 ? stakeholders : to;
}

function mailOf(options: EmailOptions, { id, notice }: Message) {
  const { from, environment, console, clock } = options;
  const { route, rollout, event, severity } = notice;
  const domain = from.slice(from.lastIndexOf("@") + 1);
  const named = (text: string): string =>
    `<${createHash("sha256").update(text).digest("hex").slice(0, 32)}@${domain}>`;
  // What is about no rollout is no thread. The message that would be its first need not be there.
  const thread = rollout === "" ? undefined : named(["thread", environment, route, rollout].join("\n"));
  const about = Object.entries({ environment, route, rollout, event, severity, message: id, console });
  const footer = about.flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [`${name}: ${lineOf(value)}`],
  );
  return {
    from,
    to: [...recipientsOf(options, notice)],
    subject: headOf(notice, environment).slice(0, MOST_SUBJECT),
    text: [lineOf(notice.summary), "", ...bodyOf(notice), "", "-- ", ...footer, ""].join("\n"),
    date: new Date(clock.wall()),
    messageId: named(id),
    ...(thread === undefined ? {} : { inReplyTo: thread, references: thread }),
    // Nobody's holiday answers a machine (RFC 3834).
    headers: { "Auto-Submitted": "auto-generated" },
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

function failureOf(error: unknown, isBegun: boolean): Failed {
  if (error instanceof RefusedAddress) return { ok: false, retry: false, detail: error.message };
  // The mailer's errors are the platform's, with more of their own.
  const about: Partial<NodemailerError> = error instanceof Error ? error : {};
  const code = typeof about.code === "string" ? about.code : "failed";
  if (typeof about.responseCode === "number") {
    // The server has answered: it does not have it. 5 is for good (RFC 5321 §4.2.1).
    const at = typeof about.command === "string" ? ` at ${about.command}` : "";
    return {
      ok: false,
      retry: about.responseCode < 500,
      detail: lineOf(`status ${about.responseCode}${at}`),
    };
  }
  return { ok: false, retry: true, detail: code, isUnknown: isBegun };
}
