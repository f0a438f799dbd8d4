/** The shapes that several parts of the configuration share: sections with defaults, and where a secret is. */

import { z } from "zod";
import { path } from "./texts.ts";

/** Zod's way of saying "the default is what the empty object parses to". */
export function section<T extends z.ZodRawShape>(shape: T, description: string) {
  const schema = z.strictObject(shape);
  return schema.prefault({} as z.input<typeof schema>).meta({ description });
}

/** Where a secret is. */
export const secret = z
  .union(
    [
      z.strictObject({ env: z.string().min(1).meta({ description: "name of the environment variable" }) }),
      z.strictObject({ file: path.meta({ description: "path of the file that holds it" }) }),
    ],
    { error: "expected where the secret is, { env: NAME } or { file: PATH }, never the secret itself" },
  )
  .meta({ description: "where the secret is: { env: NAME } or { file: PATH }; never the secret itself" });

/** What turns a limit off. */
export const none = z.literal("none");
/** What turns a part off. */
export const off = z.literal("off");
