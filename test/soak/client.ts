/** One request over `node:http`, told as what became of it. Nothing here rejects: a soak counts. */

import { createHash } from "node:crypto";
import { request, type Agent, type IncomingMessage } from "node:http";
import { PIECE, type Site } from "./site.ts";

/** What became of one request. */
export interface Result {
  /** Status of the answer; 0 when there was none. */
  readonly status: number;
  /** The whole answer was read. */
  readonly isWhole: boolean;
  /** SHA-256 of what was read of the body, hex. */
  readonly digest: string;
  readonly text: string;
  readonly error: string;
}

/** How a request is made. */
export interface Asking {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly agent?: Agent;
  /** Bytes of a body; it is chunked. */
  readonly upload?: number;
  /** Between two pieces read or written now and then so long is waited. */
  readonly slowMs?: number;
  /** The client leaves after so many milliseconds. */
  readonly abortMs?: number;
}

/** Every how many bytes a slow peer waits. */
const SLOW_EVERY = 64 * 1024 * 1024;

/** Asks, and waits for the end, 60 s without any progress at the most. */
export function ask(site: Site, asking: Asking): Promise<Result> {
  const { path, method = "GET", headers = {}, agent, upload, slowMs = 0, abortMs } = asking;
  return new Promise((resolve) => {
    const hash = createHash("sha256");
    let status = 0;
    let text = "";
    let isOver = false;
    const over = (isWhole: boolean, error: string): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(leave);
      resolve({ status, isWhole, digest: hash.digest("hex"), text, error });
    };
    const sent = request({ host: site.host, port: site.port, path, method, headers, agent, timeout: 60_000 });
    const leave = abortMs === undefined ? undefined : setTimeout(() => sent.destroy(), abortMs);
    sent.on("timeout", () => sent.destroy(new Error("nothing for 60 s")));
    sent.on("error", (error: NodeJS.ErrnoException) => over(false, error.code ?? error.message));
    sent.on("close", () => {
      if (status === 0) over(false, "closed");
    });
    sent.on("response", (response) => {
      status = response.statusCode ?? 0;
      response.on("error", (error: NodeJS.ErrnoException) => over(false, error.code ?? error.message));
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        hash.update(chunk);
        if (text.length < 200) text += chunk.toString("latin1", 0, 200);
        const before = Math.floor(bytes / SLOW_EVERY);
        bytes += chunk.length;
        if (slowMs > 0 && Math.floor(bytes / SLOW_EVERY) > before) pauseFor(response, slowMs);
      });
      response.on("close", () => over(response.complete, response.complete ? "" : "cut"));
    });
    if (upload === undefined) sent.end();
    else write(sent, upload, slowMs);
  });
}

function pauseFor(response: IncomingMessage, ms: number): void {
  response.pause();
  setTimeout(() => response.resume(), ms);
}

function write(sent: ReturnType<typeof request>, n: number, slowMs: number): void {
  let left = n;
  const go = (): void => {
    while (left > 0 && !sent.destroyed) {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length));
      const before = Math.floor(left / SLOW_EVERY);
      left -= piece.length;
      const taken = sent.write(piece);
      if (slowMs > 0 && Math.floor(left / SLOW_EVERY) < before) return void setTimeout(go, slowMs);
      if (!taken) return void sent.once("drain", go);
    }
    sent.end();
  };
  go();
}
