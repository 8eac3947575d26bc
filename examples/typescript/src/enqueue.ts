// Takes an order, or with --fail nearly so. `node dist/enqueue.js TENANT NAME WEIGHT [--fail]`
import pg from "pg";
import { transaction } from "./database.js";
import { takeOrder } from "./orders.js";

async function main([tenant, name, weight, flag]: string[]): Promise<void> {
  if (tenant === undefined || name === undefined || weight === undefined) throw new Error("enqueue TENANT NAME WEIGHT");
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
  try {
    await transaction(pool, async (session) => {
      for (const id of await takeOrder(session, tenant, name, weight)) console.log(id);
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
