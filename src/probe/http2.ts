/**
 * One GET of a probe over HTTP/2, for endpoints that speak nothing else: by prior knowledge in the clear, by ALPN over TLS.
 *
 * Like every probe it opens a connection of its own; whoever asked destroys it when it knows enough, or has waited long enough.
 */

import { connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** What to ask for. */
export interface Http2Probe {
  readonly path: string;
  /** `host:port`. */
  readonly authority: string;
  /** So much of a body is read; a longer one is cut off and counts as whole: bytes. */
  readonly mostBody: number;
}

/** Tells what came of it: what went wrong in a few words, or nothing. May be told several times; the first counts. */
export type Verdict = (finding: string | Error) => void;

const MOST_FIELDS = 200;
const MEMORY_MB = 4;

/** Asks on a connection that is being opened. `secure`: the same socket, when it is over TLS. */
export function getOverHttp2(
  socket: Socket,
  secure: TLSSocket | undefined,
  probe: Http2Probe,
  verdict: Verdict,
): { destroy(): void } {
  const { path, authority, mostBody } = probe;
  // A reset after the verdict is no news.
  socket.on("error", verdict);
  socket.on("close", () => verdict("connection closed without an answer"));
  secure?.on("secureConnect", () => {
    if (secure.alpnProtocol !== "h2") verdict("no HTTP/2");
  });
  const session = connectHttp2(`${secure === undefined ? "http" : "https"}://${authority}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxHeaderListPairs: MOST_FIELDS,
    maxSessionMemory: MEMORY_MB,
  });
  session.on("error", verdict);
  const stream = session.request({
    ":path": path,
    ":authority": authority,
    "user-agent": "sluice-probe",
    accept: "*/*",
  });
  stream.on("error", verdict);
  let finding = "connection closed without an answer";
  let read = 0;
  stream.on("response", ({ ":status": status = 0 }) => {
    finding = status >= 200 && status < 400 ? "" : `status ${status}`;
  });
  stream.on("data", (chunk: Buffer) => {
    read += chunk.length;
    if (read > mostBody) verdict(finding);
  });
  stream.on("end", () => verdict(finding));
  stream.on("close", () => verdict(finding || "the answer was cut short"));
  return {
    destroy() {
      session.destroy();
      socket.destroy();
    },
  };
}
