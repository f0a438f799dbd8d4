/** Clients that never stop asking, what they got that nobody should get, and what was seen of the weight meanwhile. */

import { EventEmitter } from "node:events";
import { Agent } from "node:http";
import { ask } from "./program.ts";
import { pause, untilEvent } from "./until.ts";
import type { Replica, Status } from "./replicas.ts";

interface Client {
  answered: number;
  isOver: boolean;
  ended: Promise<void>;
}

/** So long a few answers take only when there are none. */
const PATIENCE_MS = 60_000;

/** One client for each replica, each request from another user. */
export class Traffic {
  /** What clients got in place of an answer: no connection, or a failure. */
  readonly wrong: string[] = [];
  readonly #clients = new Map<string, Client>();
  readonly #events = new EventEmitter().setMaxListeners(0);
  #users = 0;

  /** From now on through these, too. */
  join(...replicas: readonly Replica[]): void {
    for (const { name, origin } of replicas) {
      if (this.#clients.has(name)) continue;
      const client: Client = { answered: 0, isOver: false, ended: Promise.resolve() };
      this.#clients.set(name, client);
      client.ended = this.#run(name, origin, client);
    }
  }

  /** Not through these any more; resolves when nothing is under way there. */
  async leave(...replicas: readonly Replica[]): Promise<void> {
    await Promise.all(replicas.map(({ name }) => this.#end(name)));
  }

  /** Resolves when each of these has answered `count` more. */
  async more(count: number, replicas: readonly Replica[]): Promise<void> {
    const due = replicas.map(({ name }) => {
      const client = this.#clients.get(name)!;
      return { client, until: client.answered + count };
    });
    await untilEvent(
      `${count} more answers of each of ${replicas.map(({ name }) => name).join(", ")}`,
      this.#events,
      "answered",
      () => due.every(({ client, until }) => client.answered >= until),
      PATIENCE_MS,
    );
  }

  async end(): Promise<void> {
    await Promise.all([...this.#clients.keys()].map((name) => this.#end(name)));
  }

  async #end(name: string): Promise<void> {
    const client = this.#clients.get(name);
    if (client === undefined) return;
    client.isOver = true;
    await client.ended;
    this.#clients.delete(name);
  }

  async #run(name: string, origin: string, client: Client): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!client.isOver) {
      const headers = { "x-user-id": `user-${this.#users++}` };
      const got = await ask(origin, { agent, headers }).then(
        ({ status, body }) => `${status} ${body}`,
        (error: unknown) => String(error),
      );
      if (!/^200 (stable|canary)$/.test(got)) this.wrong.push(`${name}: ${got}`);
      client.answered++;
      this.#events.emit("answered");
      await pause();
    }
    agent.destroy();
  }
}

/** What a replica said of its route, when it said something else than before. */
export interface Sight extends Pick<Status, "rollout" | "step" | "weight" | "phase"> {
  readonly replica: string;
}

/** Looks at the weight in force at each replica, often. */
export class Watch {
  readonly seen: Sight[] = [];
  readonly #last = new Map<string, Sight>();
  #isOver = false;
  readonly #replicas: readonly Replica[];
  readonly #eyes: readonly Promise<void>[];

  constructor(replicas: readonly Replica[]) {
    this.#replicas = replicas;
    this.#eyes = replicas.map((replica) => this.#look(replica));
  }

  /** Where the weight rose, of what was seen from this place on. */
  rises(from = 0): readonly (Sight & { readonly before: number })[] {
    const last = new Map<string, number>();
    const found: (Sight & { readonly before: number })[] = [];
    this.seen.forEach((sight, at) => {
      const before = last.get(sight.replica) ?? 0;
      last.set(sight.replica, sight.weight);
      if (at >= from && sight.weight > before) found.push({ ...sight, before });
    });
    return found;
  }

  /** Whether this weight was seen last everywhere. */
  isAt(weight: number): boolean {
    return this.#replicas.every(({ name }) => this.#last.get(name)?.weight === weight);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#eyes);
  }

  async #look(replica: Replica): Promise<void> {
    for (; !this.#isOver; await pause()) {
      // It may be dead, or about to be.
      const status = await replica.status().catch(() => undefined);
      if (status === undefined) continue;
      const { rollout, step, weight, phase } = status;
      const before = this.#last.get(replica.name);
      if (before?.rollout === rollout && before.weight === weight && before.phase === phase) continue;
      const sight = { replica: replica.name, rollout, step, weight, phase };
      this.#last.set(replica.name, sight);
      this.seen.push(sight);
    }
  }
}
