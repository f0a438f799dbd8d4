/** How the upstream ended a stream, which Node does not say: it ends one that was reset with NO_ERROR as it ends a whole one. */

import type { ClientHttp2Stream } from "node:http2";

/** Calls `whole` when the upstream has ended a stream itself (END_STREAM); what it had sent may not have been read yet. */
export function onWhole(stream: ClientHttp2Stream, whole: () => void): void {
  const push = stream.push.bind(stream);
  // Every end comes this way, and when it is not the upstream's Node has marked the stream as closed before.
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk === null && !stream.closed && !stream.destroyed) whole();
    return push(chunk, encoding);
  };
}
