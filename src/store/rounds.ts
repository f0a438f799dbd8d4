/** Work that comes back: one round at a time, the next one after as long as the last one said, or at once when it is asked for. */

/** Rounds that go on until `stop`. They do not keep the process alive. */
export class Rounds {
  readonly #round: () => Promise<number>;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isAskedFor = false;
  #isStopped = false;

  /** `round` resolves after how many ms the next one is due, and never rejects. */
  constructor(round: () => Promise<number>) {
    this.#round = round;
  }

  /** The next round now, or after the one that is running; resolves when it is over. */
  async now(): Promise<void> {
    if (this.#isStopped) return;
    this.#isAskedFor = true;
    await (this.#running ??= this.#run());
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    clearTimeout(this.#timer);
    let wait = 0;
    while (this.#isAskedFor) {
      this.#isAskedFor = false;
      wait = await this.#round();
    }
    this.#running = undefined;
    if (!this.#isStopped) this.#timer = setTimeout(() => void this.now(), wait).unref();
  }
}
