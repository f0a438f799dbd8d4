/** Writes the dashboard's file: `npm run dashboard`. */

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dashboardJson } from "./dashboard.ts";

writeFileSync(fileURLToPath(new URL("dashboards/sluice.json", import.meta.url)), dashboardJson());
