// Calls of the contract's functions, by argument names and with the types that were made from its schema.
import pg from "pg";
import { type Functions, SIGNATURES } from "./contract.js";

// an interval as text: the driver's own object loses what its session's IntervalStyle says
pg.types.setTypeParser(pg.types.builtins.INTERVAL, (text) => text);

export type Session = Pick<pg.ClientBase, "query">;
export type Name = keyof Functions;

/** Call a function. `more` adds columns to its rows. */
export async function call<F extends Name, M extends object = object>(
  session: Session,
  name: F,
  given: Functions[F]["arguments"],
  more = "",
): Promise<(Functions[F]["row"] & M)[]> {
  const types: Record<string, string> = SIGNATURES[name];
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  // a cast tells the server the type, and `=>` the argument's name: calls stay right when an argument is added
  const binds = entries.map(([key], place) => `${key} => cast($${place + 1} as ${types[key]})`);
  const values = entries.map(([key, value]) => (types[key]?.startsWith("json") ? JSON.stringify(value) : value));
  const columns = more === "" ? "*" : `*, ${more}`;
  const answer = await session.query(`select ${columns} from jobforge.${name}(${binds.join(", ")})`, values);
  return answer.rows as (Functions[F]["row"] & M)[];
}

/** Do some work in a transaction of a connection of the pool: all of it, or nothing. */
export async function transaction<T>(pool: pg.Pool, work: (session: pg.PoolClient) => Promise<T>): Promise<T> {
  const session = await pool.connect();
  let broken = true;
  try {
    await session.query("begin");
    const result = await work(session);
    await session.query("commit");
    broken = false;
    return result;
  } catch (error) {
    broken = await session.query("rollback").then(() => false, () => true);
    throw error;
  } finally {
    session.release(broken); // a broken one is closed, and its transaction ends with it
  }
}

/** Say for which tenant this transaction is. A token, where there is one, proves it. */
export async function actFor(session: Session, tenant: string, token: string | null = null): Promise<void> {
  await session.query("select set_config('jobforge.tenant_id', $1, true)", [tenant]);
  if (token !== null) await session.query("select set_config('jobforge.tenant_token', $1, true)", [token]);
}

/** Whether the connection is to blame, and not the statement: the same may go through on another one. */
export function isLost(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  if (code === undefined) return error instanceof Error && /connection|terminated|timeout/i.test(error.message);
  return /^(08|57P|53300|E[A-Z]+$)/.test(code);
}
