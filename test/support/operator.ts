/** The admin API of a program that runs as a process, over its socket in a folder and with the token that it wrote beside its state. */

import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";

/** One call; a body makes it a POST. Resolves with the status and the text that came back. */
export type Operator = (
  path: string,
  body?: object,
) => Promise<{ readonly status: number; readonly text: string }>;

/** The operator of the program whose admin socket is `admin.sock` in this folder, and whose state is in `state`. */
export function operatorOf(folder: string): Operator {
  return async (path, body) => {
    const token = await readFile(join(folder, "state", "admin.token"), "utf8");
    const headers = {
      host: "localhost",
      authorization: `Bearer ${token.trim()}`,
      "content-type": "application/json",
    };
    return new Promise((resolve, reject) => {
      const method = body === undefined ? "GET" : "POST";
      // No agent: a connection that is kept would count as one of the program's files.
      const sent = request({ socketPath: join(folder, "admin.sock"), path, method, headers, agent: false });
      sent.on("error", reject);
      sent.on("response", (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      });
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  };
}
