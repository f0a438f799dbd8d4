/** The text of a document as replicas give it to each other. */

import { createHash } from "node:crypto";
import t from "tap";
import { NO_ALERTS } from "../../src/domain/alert.ts";
import { EMPTY_BOOK } from "../../src/domain/bulletin.ts";
import type { RecordedState, StateDocument } from "../../src/engine/ports.ts";
import {
  decodeFollowed,
  decodeState,
  encodeShared,
  encodeState,
  type Decoded,
} from "../../src/store/document.ts";
import { NOTICE, documentOf, envelope } from "./documents.ts";

const readers: Readonly<Record<string, (text: string) => Decoded>> = { decodeFollowed, decodeState };

function sharedText(document: StateDocument): string {
  const encoded = encodeShared(document, "shared");
  if (!encoded.ok) throw new Error(encoded.detail);
  return encoded.text;
}

for (const [name, read] of Object.entries(readers)) {
  t.test(`${name}: what replicas give each other is read, as it stands and laid out by hand`, (t) => {
    const text = sharedText(documentOf(7));
    t.same(read(text), { ok: true, document: documentOf(7), lineage: "shared" });
    for (const laidOut of [JSON.stringify(JSON.parse(text), null, 2), text.trim(), ` ${text}`])
      t.same(read(laidOut), read(text));
    t.same(read(text), read(encodedState(documentOf(7))), "as a file would have it");
    t.end();
  });

  t.test(`${name}: a document with one letter changed is refused, as it stands and laid out by hand`, (t) => {
    const text = sharedText(documentOf(7)).replace("save 7", "save 8");
    for (const changed of [text, JSON.stringify(JSON.parse(text), null, 2)])
      t.match(read(changed), { ok: false, detail: /checksum/ });
    t.end();
  });

  t.test(
    `${name}: a document that was read is handed on as it was, with what this version does not know`,
    (t) => {
      const text = `${envelope({ ...documentOf(7), later: "a field of another version" }, "shared")}\n`;
      const decoded = read(text);
      if (!decoded.ok) throw new Error(decoded.detail);
      t.notMatch(decoded.document, { later: /./ });
      t.equal(sharedText(decoded.document), text);
      const kept = encodeShared(decoded.document, "fleet-1");
      t.match(read(kept.ok ? kept.text : ""), { ok: true, document: documentOf(7), lineage: "fleet-1" });
      t.end();
    },
  );
}

t.test("a document that is not what its checksum is over is refused, also when that is over nothing", (t) => {
  const checksum = createHash("sha256").update("shared\n").digest("hex");
  for (const document of [documentOf(7), ""])
    t.match(decodeState(JSON.stringify({ lineage: "shared", checksum, document }, null, 2)), { ok: false });
  t.end();
});

t.test("a document that could not be read back is not given to anybody", (t) => {
  t.match(encodeShared({ ...documentOf(7), version: Number.NaN }, "shared"), {
    ok: false,
    detail: /version/,
  });
  t.end();
});

/** A document with all that is beside a rollout. */
function wholeDocument(): StateDocument {
  const { routes, ...rest } = documentOf(7);
  const app: RecordedState = {
    ...routes["app"]!,
    evidence: { rules: "r", snapshot: { layout: 1, hard: [1, 2.5], rest: [], latency: [0, 7] }, upTo: "5-1" },
    notices: [NOTICE],
    bulletins: { ...EMPTY_BOOK, rollout: "r-1" },
    alerts: { ...NO_ALERTS, next: 4 },
  };
  return { ...rest, routes: { app } };
}

for (const [name, read] of Object.entries(readers)) {
  t.test(`${name}: evidence, and what people were told, is packed, and read as it was`, (t) => {
    const document = wholeDocument();
    const text = sharedText(document);
    t.notMatch(text, "weight set to 5 %");
    const decoded = read(text);
    if (!decoded.ok) throw new Error(decoded.detail);
    // Copied, because what is read later stands behind getters.
    t.same({ ...decoded.document.routes["app"] }, document.routes["app"]);
    t.equal(sharedText({ ...decoded.document }).length, text.length, "and packed again to the same");
    t.equal(encodedState(document).includes("weight set to 5 %"), true, "in a file people can read it");
    t.same(read(encodedState(document)), read(text));
    t.end();
  });
}

t.test("what is packed and cannot be unpacked is left out, and costs no rollout", (t) => {
  for (const damaged of ["", "no base64 %", "AAAA", "eyJ9"]) {
    const document = JSON.parse(JSON.stringify(documentOf(7))) as { routes: { app: object } };
    const beside = {
      evidence: { rules: "r", packed: damaged },
      notices: damaged,
      bulletins: damaged,
      alerts: damaged,
    };
    Object.assign(document.routes.app, beside);
    const text = envelope(document, "shared");
    const now = decodeState(text);
    t.same(now.ok && now.document, documentOf(7), damaged);
    const later = decodeFollowed(text);
    if (!later.ok) throw new Error(later.detail);
    const { evidence, ...rest } = { ...later.document.routes["app"] };
    t.match(evidence?.snapshot, { layout: -1 });
    t.same(rest, { ...documentOf(7).routes["app"], notices: [], bulletins: EMPTY_BOOK, alerts: NO_ALERTS });
  }
  t.end();
});

function encodedState(document: StateDocument): string {
  const encoded = encodeState(document, "shared");
  return encoded.ok ? encoded.text : encoded.detail;
}
