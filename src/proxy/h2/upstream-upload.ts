/**
 * A request body on its way into a stream, with back-pressure and its trailers.
 *
 * Only a body that was read to its end is ended; one that the client cuts leaves the stream open for whoever resets it (reliability.md 24, 31).
 * Node ends a stream before it resets it, and tells the upstream so unless the stream waits for trailers, which is why each does.
 */

import type { ClientHttp2Stream } from "node:http2";
import type { Readable } from "node:stream";
import type { StreamBody } from "../general/sender.ts";
import { objectOf } from "./fields.ts";

/** Who hears of an upload. */
export interface UploadEvents {
  /** Bytes went on. */
  onProgress(): void;
  /** The whole body went out. */
  onSent(): void;
  /** Node will not send its trailers. */
  onUnsendable(): void;
}

/** One sending of a body, from its first byte; the body is held, or was not read yet. Returns what stops it. The stream waits for trailers. */
export function upload(body: StreamBody, stream: ClientHttp2Stream, events: UploadEvents): () => void {
  const source: Readable = body.open();
  let isStopped = false;
  let isWhole = false;
  source.on("error", ignore);
  source.on("data", (chunk: Buffer) => {
    // Of a stream that is being reset nothing more is wanted.
    if (isStopped || !stream.writable) return;
    events.onProgress();
    if (!stream.write(chunk)) source.pause();
  });
  source.on("end", () => {
    isWhole = true;
    if (!isStopped) stream.end();
  });
  stream.on("drain", () => {
    if (isStopped) return;
    events.onProgress();
    source.resume();
  });
  // Node ends the writing side of a stream that was reset, too.
  stream.on("finish", () => {
    if (!isStopped && isWhole) events.onSent();
  });
  stream.on("wantTrailers", () => {
    if (isStopped || !isWhole) return;
    try {
      stream.sendTrailers(objectOf(body.trailers));
    } catch {
      events.onUnsendable();
    }
  });
  return () => {
    isStopped = true;
    source.destroy();
  };
}

function ignore(): void {
  // the body's owner knows
}
