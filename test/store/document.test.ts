/** The text of a document as replicas give it to each other. */

import t from "tap";
import type { StateDocument } from "../../src/engine/ports.ts";
import {
  decodeFollowed,
  decodeState,
  encodeShared,
  encodeState,
  type Decoded,
} from "../../src/store/document.ts";
import { documentOf, envelope } from "./documents.ts";

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

t.test("a document that could not be read back is not given to anybody", (t) => {
  t.match(encodeShared({ ...documentOf(7), version: Number.NaN }, "shared"), {
    ok: false,
    detail: /version/,
  });
  t.end();
});

function encodedState(document: StateDocument): string {
  const encoded = encodeState(document, "shared");
  return encoded.ok ? encoded.text : encoded.detail;
}
