// One run of a job: its handler, and how it ends. See "A worker, step by step" of docs/sql-contract.md, 3 and 5.
import pg from "pg";
import type { Functions, ResultItem } from "./contract.js";
import { actFor, call, isLost } from "./database.js";
import { Final, type Handler, Retry } from "./handlers.js";

/** A claimed job; `seconds` is its timeout, if it has one. */
export type Claimed = Functions["claim_jobs"]["row"] & { seconds: number | null };

/** Why a run shall stop. */
export type Why = "canceled" | "lost" | "timed_out" | "stopping";

export class Run {
  readonly #stop = new AbortController();
  readonly #began = performance.now();
  #session: pg.PoolClient | null = null;

  constructor(
    readonly job: Claimed,
    private readonly pool: pg.Pool,
    private readonly handler: Handler | undefined,
  ) {}

  /** Ask the handler to stop. The first reason counts. */
  stop(why: Why): void {
    this.#stop.abort(why);
  }

  /** Run it to its end, and tell that to the database. Answers how it ended. */
  async toItsEnd(): Promise<string> {
    const { seconds } = this.job;
    const timer = seconds === null ? undefined : setTimeout(() => this.stop("timed_out"), seconds * 1000);
    try {
      return await this.#handled();
    } catch (error) {
      const item = this.#failed(error);
      return item === null ? "lost" : await this.report(item);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Give the job back, uncharged, whatever its handler is doing: what it has written is rolled back. */
  async release(): Promise<void> {
    this.#session?.release(true);
    this.#session = null;
    await this.report(this.#item("released"));
  }

  /** Complete outside the handler's transaction; where the answer gets lost, the same again. */
  async report(item: ResultItem): Promise<string> {
    for (;;) {
      try {
        const [answer] = await call(this.pool, "complete_jobs", { p_results: [item] });
        if (answer?.answer === "refused" && item.outcome === "succeeded") {
          return await this.report(this.#item("failed", { final: true, error: said(new Final(answer.reason ?? "")) }));
        }
        return answer?.answer === "lost" ? "lost" : item.outcome;
      } catch (error) {
        if (!isLost(error)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  async #handled(): Promise<string> {
    const handle = this.#handler();
    const session = (this.#session = await this.pool.connect());
    let committing = false;
    try {
      await session.query("begin");
      const { job_id: id, tenant_id: tenant, tenant_token, attempt } = this.job;
      await actFor(session, tenant, tenant_token);
      const result = await handle({ id, session, tenant, attempt, signal: this.#stop.signal });
      const [answer] = await call(session, "complete_jobs", { p_results: [this.#item("succeeded", { result })] });
      if (answer?.answer === "refused") throw new Final(answer.reason ?? "the result was refused");
      if (answer?.answer !== "done") return "lost"; // or done before: either way nothing of this transaction counts
      committing = true;
      await session.query("commit");
      return "succeeded";
    } catch (error) {
      // Whether that commit came through nobody knows. "succeeded" on its own would complete a job whose writes may be
      // gone; "released" ends the run only if it has not ended.
      if (committing) return (await this.report(this.#item("released"))) === "lost" ? "succeeded" : "released";
      throw error;
    } finally {
      if (this.#session !== null) await this.#giveBack(session);
    }
  }

  async #giveBack(session: pg.PoolClient): Promise<void> {
    this.#session = null;
    const broken = await session.query("rollback").then(() => false, () => true); // after a commit it does nothing
    session.release(broken);
  }

  #handler(): ReturnType<Handler> {
    if (this.handler === undefined) throw new Final(`no handler for ${this.job.type}`);
    try {
      return this.handler(JSON.parse(this.job.payload));
    } catch (error) {
      throw new Final(`the payload does not fit: ${(error as Error).message}`);
    }
  }

  #failed(error: unknown): ResultItem | null {
    const why = this.#stop.signal.aborted ? (this.#stop.signal.reason as Why) : null;
    if (why === "lost") return null; // somebody else has the job: nothing is reported
    if (why === "canceled") return this.#item("canceled");
    if (why === "stopping") return this.#item("released");
    if (why === "timed_out") return this.#item("timed_out", { error: said(new Error("it ran longer than its timeout")) });
    if (error instanceof Retry) return this.#item("failed", { error: said(error), delay: error.seconds });
    return this.#item("failed", { error: said(error), final: error instanceof Final });
  }

  #item(outcome: ResultItem["outcome"], more: Partial<ResultItem> = {}): ResultItem {
    const { job_id, lease_token } = this.job;
    return { job_id, lease_token, outcome, run_ms: Math.round(performance.now() - this.#began), ...more };
  }
}

/** An error as it is kept: short, and without what Postgres cannot store, NUL and halves of surrogate pairs. */
function said(error: unknown): object {
  const plain = (text: string) => text.slice(0, 5000).toWellFormed().replaceAll("\0", "\ufffd");
  const { constructor, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { type: plain(constructor.name), message: plain(message), traceback: plain(stack ?? "") };
}
