// The types of jobs that this program knows, and what it does for them.
import { setTimeout as sleep } from "node:timers/promises";
import type { Payloads } from "./contract.js";
import { call, type Session } from "./database.js";
import { job } from "./orders.js";

/** What a handler gets beside its payload. */
export interface Context {
  /** The job's. */
  id: string;
  /** In the transaction that completes the job: what is written here is there if and only if the job has succeeded. */
  session: Session;
  tenant: string;
  /** Aborted when the job shall stop: canceled, timed out, lost, or its worker goes. */
  signal: AbortSignal;
  attempt: number;
}

/** Checks a payload, and gives what runs the job. Throws where it does not fit: no retry cures that. */
export type Handler = (payload: unknown) => (context: Context) => Promise<unknown>;

/** The attempt failed; run again after so many seconds, in place of the job's retry policy. */
export class Retry extends Error {
  constructor(message: string, readonly seconds: number) {
    super(message);
  }
}

/** The attempt failed, and no retry can cure it. */
export class Final extends Error {}

type Shape<P> = { [K in keyof P]: "string" | "number" };

function handler<T extends keyof Payloads>(
  _type: T,
  shape: Shape<Payloads[T]>,
  run: (payload: Payloads[T], context: Context) => Promise<unknown>,
): Handler {
  return (given) => {
    for (const [key, type] of Object.entries(shape)) {
      if (typeof (given as Record<string, unknown>)[key] !== type) throw new Final(`${key} has to be a ${String(type)}`);
    }
    return (context) => run(given as Payloads[T], context);
  };
}

const printLabel = handler(
  "label.print",
  { order: "number", name: "string", weight: "string" },
  async (payload, { id, session, tenant }) => {
    const weight = BigInt(payload.weight); // as text in JSON: a number there would lose its last digits
    await session.query(STORE, [payload.order, tenant, weight.toString(), process.pid]);
    const next = job("carrier.book", { order: payload.order, carrier: "post" }, { parent_id: id });
    await call(session, "enqueue_jobs", { p_jobs: [next] }); // exists if and only if this job has succeeded
    return { label: `${payload.order}/${payload.name}`, weight: (weight * 2n).toString() };
  },
);

const bookCarrier = handler("carrier.book", { order: "number", carrier: "string" }, async (payload) => {
  if (payload.carrier === "busy") throw new Retry("the carrier has no room today", 3600);
  if (payload.carrier !== "post") throw new Error(`there is no carrier ${payload.carrier}`);
  return { booked: payload.order };
});

const watchCarrier = handler(
  "carrier.watch",
  { order: "number", seconds: "number" },
  async (payload, { session, tenant, signal }) => {
    await session.query(STORE, [payload.order, tenant, "0", process.pid]);
    await sleep(payload.seconds * 1000, undefined, { signal });
    return { watched: payload.seconds };
  },
);

const STORE = "insert into shop_labels (order_id, tenant_id, weight, printed_by) values ($1, $2, cast($3 as numeric), $4)";

export const HANDLERS: Record<string, Handler> = {
  "label.print": printLabel,
  "carrier.book": bookCarrier,
  "carrier.watch": watchCarrier,
};
