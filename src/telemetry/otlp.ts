/**
 * The only door to OpenTelemetry's packages: spans in batches to a collector, in OTLP's JSON over HTTP. Loaded when traces are configured and
 * never otherwise: it is 27 packages.
 *
 * Nothing here makes anybody wait: what the collector does not take in time is dropped and counted, and so is what finds no place in the queue.
 * The environment has its say as the packages have it: OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS where the configuration says
 * nothing, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES always.
 */

import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { Duplex } from "node:stream";
import { SpanKind, SpanStatusCode, TraceFlags, createTraceState, type SpanContext } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import type { TracingConfig } from "../config/schema.ts";
import type { Log } from "../engine/ports.ts";
import type { Span } from "./spans.ts";

/** Spans by what became of them, since start. */
export interface SpanCounts {
  readonly sent: number;
  /** The collector did not take them in time, or refused them. */
  readonly failed: number;
  /** There was no place for them. */
  readonly dropped: number;
}

/** Where spans go. */
export interface Collector {
  /** Queues and returns at once. */
  take(span: Span): void;
  readonly counts: SpanCounts;
  /** Sends what waits, within a bound. */
  close(): Promise<void>;
}

/** What a collector is made of. */
export interface CollectorOptions extends Pick<TracingConfig, "otlp" | "timeout" | "queue"> {
  /** The revealed headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly environment: string;
  readonly program: string;
  readonly log: Log;
}

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const;
/** What waits at the end has so long to be taken. */
const DRAIN_MS = 2000;
const BATCH = 512;
const BATCH_MS = 1000;
/** OpenTelemetry's word for it, whose name is in a package that we do not ask for. */
const SUCCESS = 0;
const FAILED = 1;
/** An error that the exporter does not try again after. */
const CLOSED = new Error("the program is ending");

/** Begins sending to the collector that the options name. */
export function openCollector(options: CollectorOptions): Collector {
  return new OtlpCollector(options);
}

class OtlpCollector implements Collector {
  readonly counts = { sent: 0, failed: 0, dropped: 0 };
  readonly #options: CollectorOptions;
  readonly #processor: BatchSpanProcessor;
  readonly #resource: ReadableSpan["resource"];
  readonly #scope: ReadableSpan["instrumentationScope"];
  readonly #sockets = new Set<Duplex>();
  /** Batches under way, each with its end. */
  readonly #ends = new Set<() => void>();
  #isClosed = false;
  #waiting = 0;
  #isFailing = false;

  constructor(options: CollectorOptions) {
    const { otlp, timeout, headers, queue, environment, program } = options;
    this.#options = options;
    this.#scope = { name: "sluice", version: program };
    this.#resource = defaultResource()
      .merge(
        resourceFromAttributes({
          "service.name": "sluice",
          "service.version": program,
          "deployment.environment.name": environment,
        }),
      )
      .merge(detectResources({ detectors: [envDetector] }));
    const exporter = new OTLPTraceExporter({
      ...(otlp === undefined ? {} : { url: tracesUrl(otlp) }),
      ...(Object.keys(headers).length === 0 ? {} : { headers: { ...headers } }),
      timeoutMillis: timeout,
      concurrencyLimit: 4,
      httpAgentOptions: (protocol) => this.#agent(protocol),
    });
    this.#processor = new BatchSpanProcessor(this.#counting(exporter), {
      maxQueueSize: queue,
      maxExportBatchSize: Math.min(BATCH, queue),
      scheduledDelayMillis: BATCH_MS,
      exportTimeoutMillis: timeout,
    });
  }

  take(span: Span): void {
    // Asked here and not left to the processor, which drops without a word.
    if (this.#waiting >= this.#options.queue) {
      this.counts.dropped++;
      return;
    }
    this.#waiting++;
    this.#processor.onEnd(this.#readable(span));
  }

  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, DRAIN_MS)));
    await Promise.race([this.#processor.shutdown().catch(() => {}), late]);
    clearTimeout(timer);
    // Whatever hangs there must not keep the process: neither a connection nor a timer that waits for it.
    this.#isClosed = true;
    for (const end of this.#ends) end();
    for (const socket of this.#sockets) socket.destroy(CLOSED);
    this.counts.failed += this.#waiting;
    this.#waiting = 0;
  }

  #agent(protocol: string): HttpAgent | HttpsAgent {
    const agent = new (protocol === "https:" ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: 4 });
    const connect = agent.createConnection.bind(agent);
    agent.createConnection = (options, done) => {
      const socket = connect(options, done);
      if (socket === null || socket === undefined) return socket;
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      if (this.#isClosed) socket.destroy(CLOSED);
      return socket;
    };
    return agent;
  }

  #counting(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans, done) => {
        const end = (): void => done({ code: FAILED });
        this.#ends.add(end);
        exporter.export(spans, (result) => {
          this.#ends.delete(end);
          // What came too late was counted at the end.
          const count = Math.min(spans.length, this.#waiting);
          this.#waiting -= count;
          this.#count((result.code as number) === SUCCESS, count, result.error);
          done(result);
        });
      },
      shutdown: () => exporter.shutdown(),
      forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
    };
  }

  #count(isTaken: boolean, count: number, error: Error | undefined): void {
    this.counts[isTaken ? "sent" : "failed"] += count;
    if (isTaken === !this.#isFailing) return;
    this.#isFailing = !isTaken;
    const { log } = this.#options;
    if (isTaken) log.info("the collector takes spans again");
    else log.warn("the collector does not take spans", { detail: error?.message });
  }

  #readable(span: Span): ReadableSpan {
    const { name, traceId, spanId, parentId, isRemote, state, from, to, attributes, events, error } = span;
    const contextOf = (id: string, remote: boolean): SpanContext => ({
      traceId,
      spanId: id,
      traceFlags: TraceFlags.SAMPLED,
      isRemote: remote,
      ...(state === "" ? {} : { traceState: createTraceState(state) }),
    });
    const context = contextOf(spanId, false);
    return {
      name,
      kind: KINDS[span.kind],
      spanContext: () => context,
      ...(parentId === "" ? {} : { parentSpanContext: contextOf(parentId, isRemote) }),
      startTime: timeOf(from),
      endTime: timeOf(to),
      duration: timeOf(to - from),
      status: error === "" ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: error },
      attributes: { ...attributes },
      links: [],
      events: events.map((each) => ({
        name: each.name,
        time: timeOf(to),
        attributes: { ...each.attributes },
      })),
      ended: true,
      resource: this.#resource,
      instrumentationScope: this.#scope,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  }
}

/** Milliseconds as seconds and nanoseconds. */
function timeOf(ms: number): [number, number] {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}

function tracesUrl(otlp: string): string {
  return /\/v1\/traces\/?$/.test(otlp) ? otlp : `${otlp.replace(/\/+$/, "")}/v1/traces`;
}
