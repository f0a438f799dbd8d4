/**
 * The state in memory: for tests, and for an operator who wants nothing on disk and accepts that a restart begins at weight 0.
 *
 * The document is kept as text, as the file store keeps it, so that no one can change what was saved by changing what they hold.
 */

import type { Store } from "../engine/ports.ts";
import { decodeState, encodeState } from "./document.ts";

/** A store that forgets with the process. Several writers may hold it at once; one of two that save the same version wins. */
export function memoryStore(): Store {
  let saved: string | undefined;
  let version = 0;
  return {
    async load() {
      if (saved === undefined) return { kind: "none" };
      const decoded = decodeState(saved);
      if (!decoded.ok) return { kind: "corrupt", detail: decoded.detail, keptAs: "memory" };
      return { kind: "found", document: decoded.document };
    },
    async save(document) {
      if (document.version !== version + 1) return { ok: false, kind: "conflict", found: version };
      const encoded = encodeState(document, "memory");
      if (!encoded.ok) return { ok: false, kind: "unavailable", detail: encoded.detail };
      saved = encoded.text;
      version = document.version;
      return { ok: true };
    },
    async close() {},
  };
}
