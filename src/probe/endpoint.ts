/**
 * One probe of one endpoint, over a connection of its own: does it take connections, and does it answer that it is well?
 *
 * `node:http` with an agent that keeps nothing, and not the pool of the data path: a probe must find out whether a *new* connection works, and must not
 * wait behind traffic. It promises to end: whatever the other side does (hangs, trickles, never stops sending), the time-out destroys the socket.
 */

import { Agent, request, type IncomingMessage } from "node:http";
import { Agent as TlsAgent, request as requestTls } from "node:https";
import { connect, isIP } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { codeOf, isExhaustion } from "../domain/errors.ts";
import { bareHost } from "../domain/host.ts";
import type { Millis } from "../domain/units.ts";
import { getOverHttp2 } from "./http2.ts";

/** What to probe. */
export interface Target {
  /** `http://host:port`, `https://host:port` or `h2c://host:port`. */
  readonly url: string;
  /** Whether it speaks HTTP/2 and nothing else. */
  readonly isHttp2: boolean;
  /** GET this path, good from 200 to 399 with a whole body; undefined: a TCP connect is enough. */
  readonly path: string | undefined;
  readonly timeoutMs: Millis;
  /** How TLS is spoken; left out: as the platform does, to the name in the URL. */
  readonly tls?: ConnectionOptions;
}

/** Why the probe failed, in a few words; empty when it did not. Undefined: it found nothing out, for want of a file or a port of our own. */
export type Finding = string | undefined;

/** So much of a body is read; a longer one is cut off and counts as whole: bytes. */
const MOST_BODY = 64 * 1024;
/** A head larger than this is an error of the probe: bytes. */
const MOST_HEAD = 16 * 1024;
const LONGEST_DETAIL = 160;

/** Probes once. Never rejects. `signal` ends it at once, with a finding that means nothing. */
export function probeOnce(target: Target, agents: ProbeAgents, signal: AbortSignal): Promise<Finding> {
  return new Promise((resolve) => {
    const { hostname, port, protocol, host: authority } = new URL(target.url);
    const isTls = protocol === "https:";
    const host = bareHost(hostname);
    // Of an address the name in a certificate is the address itself.
    const tls = target.tls ?? (isIP(host) === 0 ? { servername: host } : {});
    const address = { ...(isTls ? tls : {}), host, port: port === "" ? (isTls ? 443 : 80) : Number(port) };
    const { path } = target;
    const attempt =
      path === undefined
        ? open(address, isTls, settle)
        : target.isHttp2
          ? getHttp2(address, { path, isTls, authority }, settle)
          : get(address, { path, agents, isTls, authority }, settle);
    const timer = setTimeout(() => settle(`no answer within ${target.timeoutMs} ms`), target.timeoutMs);
    const stop = () => settle("stopped");
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();

    function settle(finding: Finding): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      attempt.destroy();
      resolve(finding);
    }
  });
}

/** Agents for probes: every probe connects anew. */
export interface ProbeAgents {
  readonly plain: Agent;
  readonly tls: TlsAgent;
}

/** The agents of one set of probes. */
export function probeAgents(): ProbeAgents {
  return {
    plain: new Agent({ keepAlive: false }),
    // A kept session would hide that a new handshake fails.
    tls: new TlsAgent({ keepAlive: false, maxCachedSessions: 0 }),
  };
}

type Settle = (finding: Finding) => void;
type Address = { readonly host: string; readonly port: number } & ConnectionOptions;

function open(address: Address, isTls: boolean, settle: Settle): { destroy(): void } {
  const socket = isTls ? connectTls(address) : connect(address);
  // Both listeners stay for the life of the socket: a reset after the verdict is no news.
  socket.on(isTls ? "secureConnect" : "connect", () => settle(""));
  socket.on("error", (error) => settle(detailOf(error)));
  return socket;
}

function get(
  address: Address,
  options: {
    readonly path: string;
    readonly agents: ProbeAgents;
    readonly isTls: boolean;
    readonly authority: string;
  },
  settle: Settle,
): { destroy(): void } {
  const { path, agents, isTls, authority } = options;
  const common = {
    ...address,
    path,
    method: "GET",
    maxHeaderSize: MOST_HEAD,
    headers: { host: authority, "user-agent": "sluice-probe", accept: "*/*" },
  };
  const probe = isTls
    ? requestTls({ ...common, agent: agents.tls })
    : request({ ...common, agent: agents.plain });
  let isAnswered = false;
  probe.on("response", (response) => {
    isAnswered = true;
    readAnswer(response, settle);
  });
  probe.on("upgrade", (_response, socket) => {
    socket.on("error", () => {});
    socket.destroy();
    settle("status 101");
  });
  probe.on("error", (error) => settle(detailOf(error)));
  probe.on("close", () => {
    if (!isAnswered) settle("connection closed without an answer");
  });
  probe.end();
  return probe;
}

function getHttp2(
  address: Address,
  { path, isTls, authority }: { readonly path: string; readonly isTls: boolean; readonly authority: string },
  settle: Settle,
): { destroy(): void } {
  const secure = isTls ? connectTls({ ...address, ALPNProtocols: ["h2"] }) : undefined;
  return getOverHttp2(
    secure ?? connect(address),
    secure,
    { path, authority, mostBody: MOST_BODY },
    (finding) => settle(typeof finding === "string" ? finding : detailOf(finding)),
  );
}

function readAnswer(response: IncomingMessage, settle: Settle): void {
  const status = response.statusCode ?? 0;
  const finding = status >= 200 && status < 400 ? "" : `status ${status}`;
  let read = 0;
  response.on("data", (chunk: Buffer) => {
    read += chunk.length;
    if (read > MOST_BODY) settle(finding);
  });
  response.on("error", (error) => settle(finding || detailOf(error)));
  response.on("close", () => settle(response.complete ? finding : finding || "the answer was cut short"));
}

/** `ECONNREFUSED`, or the message where there is no code; an address tried in vain several ways says the first. */
function detailOf(error: Error): Finding {
  const text = codeOf(error) || error.message;
  if (isExhaustion(text)) return undefined;
  return text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, LONGEST_DETAIL) || "failed";
}
