/** What `work` resolves with; rejects after `ms`, or when `signal` aborts, and then leaves `work` to itself. */
export async function within<T>(ms: number, work: Promise<T>, signal?: AbortSignal): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
    stop = () => reject(new Error("the notifier was closed"));
    signal?.addEventListener("abort", stop);
    if (signal?.aborted === true) stop();
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
    if (stop !== undefined) signal?.removeEventListener("abort", stop);
  }
}
