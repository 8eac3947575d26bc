// Taking an order: its row and its jobs, in the caller's transaction.
import { type JobItem, type Payloads, QUEUES } from "./contract.js";
import { actFor, call, type Session } from "./database.js";

/** A job as an item of enqueue_jobs; the payload's type is checked where it is written. */
export function job<T extends keyof Payloads>(type: T, payload: Payloads[T], options: Partial<JobItem> = {}): JobItem {
  return { ...options, type, queue: QUEUES[type], payload: { ...payload } };
}

/** Store an order and what has to be done for it; answers the ids of the jobs. Commits nothing. */
export async function takeOrder(session: Session, tenant: string, name: string, weight: string): Promise<string[]> {
  await actFor(session, tenant);
  const text = "insert into shop_orders (tenant_id, name) values ($1, $2) returning id::integer";
  const stored = await session.query(text, [tenant, name]);
  const { id: order } = stored.rows[0] as { id: number };
  const subject = `orders:${order}`;
  const jobs = [
    job("label.print", { order, name, weight }, { subject, idempotency_key: `label-${order}` }),
    job("receipt.send", { order, to: name, total: weight }, { subject }), // a Python worker's
  ];
  return (await call(session, "enqueue_jobs", { p_jobs: jobs })).map(({ id }) => id);
}
