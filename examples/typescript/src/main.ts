// Runs the worker until SIGTERM or Ctrl-C. What it is told: DATABASE_URL, and perhaps QUEUE, SLOTS, ALIVE, GRACE.
import { HANDLERS } from "./handlers.js";
import { Worker } from "./worker.js";

const { DATABASE_URL, QUEUE = "shop", SLOTS = "4", ALIVE = "30", GRACE = "10" } = process.env;
const worker = new Worker({
  database: DATABASE_URL ?? "",
  queues: [QUEUE],
  handlers: HANDLERS,
  slots: Number(SLOTS),
  alive: Number(ALIVE),
  grace: Number(GRACE),
  log: (line) => console.log(line),
});
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => worker.stop());
worker.run().then(
  () => process.exit(0), // a handler that goes on is left behind
  (error: Error) => {
    console.error(error.message);
    process.exit(1);
  },
);
