// Takes an order: its row and its jobs are one transaction. `node dist/enqueue.js TENANT NAME WEIGHT [--fail]`
import pg from "pg";
import { type JobItem, type Payloads, QUEUES } from "./contract.js";
import { actFor, call, type Session, transaction } from "./database.js";

/** A job as an item of enqueue_jobs; the payload is checked where it is written. */
export function job<T extends keyof Payloads>(type: T, payload: Payloads[T], options: Partial<JobItem> = {}): JobItem {
  return { ...options, type, queue: QUEUES[type], payload: { ...payload } };
}

/** Store an order and what has to be done for it. Commits nothing. */
export async function takeOrder(session: Session, tenant: string, name: string, weight: string): Promise<number> {
  await actFor(session, tenant);
  const stored = await session.query("insert into shop_orders (tenant_id, name) values ($1, $2) returning id::integer", [
    tenant,
    name,
  ]);
  const order = (stored.rows[0] as { id: number }).id;
  const jobs = [
    job("label.print", { order, name, weight }, { subject: `orders:${order}`, idempotency_key: `label-${order}` }),
    job("receipt.send", { order, to: name, total: weight }, { subject: `orders:${order}` }), // Python's
  ];
  for (const one of await call(session, "enqueue_jobs", { p_jobs: jobs })) console.log(one.id);
  return order;
}

async function main([tenant, name, weight, flag]: string[]): Promise<void> {
  if (tenant === undefined || name === undefined || weight === undefined) throw new Error("enqueue TENANT NAME WEIGHT");
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
  try {
    await transaction(pool, async (session) => {
      await takeOrder(session, tenant, name, weight);
      if (flag === "--fail") throw new Error("the order is refused: its row and its jobs are rolled back");
    });
  } finally {
    await pool.end();
  }
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
