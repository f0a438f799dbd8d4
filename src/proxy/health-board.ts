/**
 * Which endpoints are known to be unhealthy, as shared words: written by the main thread when a probe has learnt something, read by every thread
 * that picks an endpoint. An endpoint of which nothing is known, or for which there is no word, may be sent to.
 */

import type { Config } from "../config/schema.ts";
import { ARMS, type Arm } from "../domain/split.ts";

const UNHEALTHY = 1;

/** An endpoint of an arm of a route. */
export interface EndpointName {
  readonly route: string;
  readonly arm: Arm;
  readonly url: string;
}

/** Endpoints whose words lie in one buffer, in that order. */
export interface HealthChunk {
  readonly endpoints: readonly EndpointName[];
  readonly buffer: SharedArrayBuffer;
}

interface Place {
  readonly words: Int32Array;
  readonly index: number;
}

/** Words of endpoints, found by name without making a string. */
class Places {
  readonly #routes = new Map<string, Readonly<Record<Arm, Map<string, Place>>>>();

  add(chunk: HealthChunk): void {
    const words = new Int32Array(chunk.buffer);
    chunk.endpoints.forEach(({ route, arm, url }, index) => {
      let arms = this.#routes.get(route);
      if (arms === undefined) this.#routes.set(route, (arms = { stable: new Map(), canary: new Map() }));
      arms[arm].set(url, { words, index });
    });
  }

  find(route: string, arm: Arm, url: string): Place | undefined {
    return this.#routes.get(route)?.[arm].get(url);
  }
}

/** The writer's side. */
export class HealthBoard {
  readonly #places = new Places();
  readonly #chunks: HealthChunk[] = [];

  /** Everything a new reader needs. */
  get chunks(): readonly HealthChunk[] {
    return [...this.#chunks];
  }

  /** Makes room for the endpoints of a configuration that are not there yet; undefined when there are none. */
  grow(config: Config): HealthChunk | undefined {
    const endpoints = endpointsOf(config).filter(
      ({ route, arm, url }) => this.#places.find(route, arm, url) === undefined,
    );
    if (endpoints.length === 0) return undefined;
    const chunk = { endpoints, buffer: new SharedArrayBuffer(endpoints.length * 4) };
    this.#places.add(chunk);
    this.#chunks.push(chunk);
    return chunk;
  }

  /** What is known of an endpoint from now on. */
  set(route: string, arm: Arm, url: string, isHealthy: boolean): void {
    const place = this.#places.find(route, arm, url);
    if (place !== undefined) Atomics.store(place.words, place.index, isHealthy ? 0 : UNHEALTHY);
  }

  /** Writes down what `healthy` says of every endpoint of a configuration. */
  refresh(config: Config, healthy: (route: string, arm: Arm, url: string) => boolean): void {
    for (const { route, arm, url } of endpointsOf(config))
      this.set(route, arm, url, healthy(route, arm, url));
  }
}

/** A reader's side. */
export class HealthReader {
  readonly #places = new Places();

  /** Takes in the words of more endpoints. */
  add(chunk: HealthChunk): void {
    this.#places.add(chunk);
  }

  /** False for an endpoint that is known to be unhealthy. */
  healthy(route: string, arm: Arm, url: string): boolean {
    const place = this.#places.find(route, arm, url);
    return place === undefined || Atomics.load(place.words, place.index) !== UNHEALTHY;
  }
}

function endpointsOf(config: Config): readonly EndpointName[] {
  return config.routes.flatMap((route) =>
    ARMS.flatMap((arm) => route[arm].endpoints.map((url) => ({ route: route.name, arm, url }))),
  );
}
