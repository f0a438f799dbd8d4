/** A collector of traces: takes OTLP's JSON at `/v1/traces` and keeps the spans. */

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";

/** A span as it came. */
export interface TakenSpan {
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly traceState?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status: { readonly code?: number };
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly {
    readonly name: string;
    readonly attributes: Readonly<Record<string, unknown>>;
  }[];
}

/** A running collector. */
export interface TestCollector {
  readonly url: string;
  readonly spans: readonly TakenSpan[];
  /** Attributes of the resource that the latest spans were of. */
  readonly resource: Readonly<Record<string, unknown>>;
  readonly headers: IncomingHttpHeaders;
  /** Requests, whatever became of them. */
  readonly requests: number;
  /** Resolves when the spans satisfy `ready`; a test's own time limit ends it. */
  until(ready: (spans: readonly TakenSpan[]) => boolean): Promise<readonly TakenSpan[]>;
  close(): Promise<void>;
}

interface Pair {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
type Raw = Omit<TakenSpan, "attributes" | "events"> & {
  readonly attributes?: readonly Pair[];
  readonly events?: readonly { readonly name: string; readonly attributes?: readonly Pair[] }[];
};
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Pair[] };
    readonly scopeSpans: readonly { readonly spans: readonly Raw[] }[];
  }[];
}

/** Starts one; one that `hangs` takes requests and never answers. */
export async function collector(mode: "takes" | "hangs" = "takes"): Promise<TestCollector> {
  const spans: TakenSpan[] = [];
  const waiting = new Set<() => void>();
  const self = { resource: {}, headers: {}, requests: 0 };
  const server = createServer((request, response) => {
    self.requests++;
    self.headers = request.headers;
    for (const look of waiting) look();
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (mode === "hangs") return;
      // OTLP's own form.
      const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString()) as Export;
      for (const { resource, scopeSpans } of request.url === "/v1/traces" ? resourceSpans : []) {
        self.resource = recordOf(resource.attributes);
        for (const each of scopeSpans) spans.push(...each.spans.map(spanOf));
      }
      response.setHeader("content-type", "application/json").end("{}");
      for (const look of waiting) look();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(self, {
    url,
    spans,
    until: (ready: (taken: readonly TakenSpan[]) => boolean) =>
      new Promise<readonly TakenSpan[]>((resolve) => {
        const look = (): void => {
          if (!ready(spans)) return;
          waiting.delete(look);
          resolve(spans);
        };
        waiting.add(look);
        look();
      }),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  });
}

function spanOf({ attributes, events, ...rest }: Raw): TakenSpan {
  return {
    ...rest,
    attributes: recordOf(attributes),
    events: (events ?? []).map((each) => ({ name: each.name, attributes: recordOf(each.attributes) })),
  };
}

function recordOf(pairs: readonly Pair[] = []): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(({ key, value }) => [
      key,
      "intValue" in value ? Number(value["intValue"]) : Object.values(value)[0],
    ]),
  );
}
