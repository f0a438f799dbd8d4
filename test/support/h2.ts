/** An HTTP/2 client for tests, on `node:http2`: one request, told as what came back; raw field lists both ways. */

import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import type { SecureClientSessionOptions } from "node:http2";

/** What came back on one stream. */
export interface Answer2 {
  readonly status: number;
  /** Raw field list of the head, `:status` included. */
  readonly fields: readonly string[];
  readonly body: Buffer;
  readonly trailers: readonly string[];
  /** Statuses of informational heads. */
  readonly informational: readonly number[];
  /** RST_STREAM code; 0 for a clean end. */
  readonly code: number;
}

/** One session with a proxy. */
export interface Client2 {
  readonly session: ClientHttp2Session;
  /** Sends one request; `fields` go behind method, path and authority. Never rejects. */
  ask(
    method: string,
    path: string,
    fields?: Record<string, string | string[]>,
    body?: Buffer,
  ): Promise<Answer2>;
  /** Opens a stream that the test drives itself. */
  open(method: string, path: string, fields?: Record<string, string | string[]>): ClientHttp2Stream;
  close(): void;
}

/** A session with `host:port`; over TLS with options. */
export function client2(address: string, tls?: SecureClientSessionOptions): Client2 {
  const session = connect(`${tls === undefined ? "http" : "https"}://${address}`, { ...tls });
  session.on("error", () => undefined);
  const open: Client2["open"] = (method, path, fields = {}) => {
    const stream = session.request({ ":method": method, ":path": path, ...fields }, { endStream: false });
    stream.on("error", () => undefined);
    return stream;
  };
  return {
    session,
    open,
    ask(method, path, fields, body) {
      const stream = open(method, path, fields);
      const answer = answerOn(stream);
      stream.end(body);
      return answer;
    },
    close: () => void session.destroy(),
  };
}

/** Everything that comes back on a stream, when it is closed. */
export function answerOn(stream: ClientHttp2Stream): Promise<Answer2> {
  let fields: readonly string[] = [];
  let trailers: readonly string[] = [];
  const informational: number[] = [];
  const chunks: Buffer[] = [];
  stream.on("response", (_headers, _flags, raw: readonly string[]) => (fields = raw));
  stream.on("headers", (headers) => informational.push(Number(headers[":status"])));
  stream.on("trailers", (_headers, _flags, raw: readonly string[]) => (trailers = raw));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) =>
    stream.on("close", () =>
      resolve({
        status: Number(fields[fields.indexOf(":status") + 1] ?? 0),
        fields,
        body: Buffer.concat(chunks),
        trailers,
        informational,
        code: stream.rstCode,
      }),
    ),
  );
}

/** Value of the first field of that name in a raw list. */
export function valueOf(fields: readonly string[], name: string): string | undefined {
  for (let at = 0; at < fields.length; at += 2) if (fields[at] === name) return fields[at + 1];
  return undefined;
}
