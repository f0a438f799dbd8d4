/**
 * The coarse clock of the fast lane: one timer for every time-out of every connection.
 *
 * A timer of the platform costs 290 ns to set and clear, and a plain exchange would set four. Here a deadline is one stored number: a node
 * is linked into a slot of the wheel, and a later deadline only overwrites the number; when its slot comes round it is linked again. Only an earlier
 * deadline moves it. So the price is paid once per trip round the wheel and not per exchange. Deadlines are late by up to two ticks and never early.
 *
 * It counts its own ticks and reads no clock; a process that was stopped has late deadlines, as with the platform's timers.
 */

/** One tick, milliseconds. */
export const TICK_MS = 20;
const SLOTS = 1024;

/** A place in a list; the head of each is no more than that. */
class Link {
  /** Of a head: the last of its list. */
  previous: Link | undefined = undefined;
  following: Timed | undefined = undefined;
}

/** Something with one deadline. */
export abstract class Timed extends Link {
  /** Tick at which it is due; 0: no deadline. The wheel's. */
  due = 0;
  /** Tick in whose slot it is linked; 0: in none. The wheel's. */
  slot = 0;

  /** The deadline has passed; it has none now. */
  abstract onDue(): void;
}

/** One wheel per thread that carries traffic. */
export class Wheel {
  readonly #slots: readonly Link[] = Array.from({ length: SLOTS }, () => new Link());
  #now = 1;
  #timer: NodeJS.Timeout | undefined = undefined;
  #linked = 0;

  /** Deadlines and stale links it holds. */
  get linked(): number {
    return this.#linked;
  }

  /** Sets the deadline to `ms` from now, 0 or more, in place of the one before. */
  set(node: Timed, ms: number): void {
    const due = this.#now + 1 + Math.ceil(ms / TICK_MS);
    node.due = due;
    if (node.slot === 0) this.#link(node, due);
    else if (due < node.slot) {
      this.#unlink(node);
      this.#link(node, due);
    }
  }

  /** Takes the deadline away. The node stays linked until its slot comes round, in case it gets another. */
  clear(node: Timed): void {
    node.due = 0;
  }

  /** Forgets the node. */
  remove(node: Timed): void {
    node.due = 0;
    if (node.slot !== 0) this.#unlink(node);
  }

  /** One tick, as its timer calls it. */
  turn(): void {
    const now = ++this.#now;
    const head = this.#slots[now % SLOTS]!;
    // No node can be linked anew into this very slot, so the list gets empty, whatever the ends of deadlines set, move or forget meanwhile.
    for (let node = head.following; node !== undefined; node = head.following) {
      this.#unlink(node);
      if (node.due > now) this.#link(node, node.due);
      else if (node.due !== 0) {
        node.due = 0;
        node.onDue();
      }
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #link(node: Timed, due: number): void {
    const slot = Math.min(due, this.#now + SLOTS - 1);
    const head = this.#slots[slot % SLOTS]!;
    const last = head.previous ?? head;
    node.slot = slot;
    node.previous = last;
    node.following = undefined;
    last.following = node;
    head.previous = node;
    this.#linked++;
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(turn, TICK_MS, this);
    this.#timer.unref();
  }

  #unlink(node: Timed): void {
    const head = this.#slots[node.slot % SLOTS]!;
    const { following } = node;
    // Every linked node has one: the first one's is the head.
    const previous = node.previous!;
    previous.following = following;
    if (following !== undefined) following.previous = previous;
    else head.previous = previous === head ? undefined : previous;
    node.previous = undefined;
    node.following = undefined;
    node.slot = 0;
    this.#linked--;
    if (this.#linked === 0) this.close();
  }
}

function turn(wheel: Wheel): void {
  wheel.turn();
}
