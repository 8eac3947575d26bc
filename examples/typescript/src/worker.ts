// A worker, written from docs/sql-contract.md, "A worker, step by step": one process, and as many runs at once as slots.
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { CHANNEL, type Functions, REVISION } from "./contract.js";
import { call, transaction } from "./database.js";
import type { Handler } from "./handlers.js";
import { type Claimed, Run } from "./run.js";

const NAME = "jobforge worker (node)";
const SECONDS = "extract(epoch from timeout)::float8 as seconds"; // an interval's text depends on its session
const SUSPECTS_EVERY = 1_000; // ms, while nothing is held
const MAKES_WAY_EVERY = 10_000; // ms, while something is
const MAKES_WAY_FOR = 60_000;

export interface Options {
  database: string;
  queues: string[];
  handlers: Record<string, Handler>;
  slots: number;
  /** Seconds after which a silent worker is taken for dead. */
  alive: number;
  /** Seconds that a stop waits for handlers. */
  grace: number;
  log: (line: string) => void;
}

export class Worker {
  readonly id = randomUUID();
  readonly #runs = new Map<string, Run>(); // by lease token: from the answer of the claim to that of the completion
  readonly #cursors = new Map<string, string>();
  readonly #pool: pg.Pool; // of claims, handlers and completions
  readonly #beats: pg.Pool; // a connection of its own: a heartbeat never waits for a handler
  readonly #gone = new AbortController();
  #ears: pg.Client | null = null;
  #stopping = false;
  #woken = false;
  #rouse: () => void = () => {};
  #alone = false; // a suspect is here
  #lookAt = 0;
  #makesWayUntil = 0;

  constructor(private readonly options: Options) {
    const config = {
      connectionString: options.database,
      application_name: NAME,
      options: "-c default_transaction_isolation=read\\ committed", // claims refuse all others
    };
    this.#pool = new pg.Pool({ ...config, max: options.slots + 2 });
    this.#beats = new pg.Pool({ ...config, max: 1 });
    for (const pool of [this.#pool, this.#beats]) pool.on("error", () => {}); // of idle connections: they are replaced
  }

  /** Work until `stop` is called. */
  async run(): Promise<void> {
    await this.#checkSchema();
    await this.#heartbeat();
    const third = (this.options.alive * 1000) / 3;
    void this.#every(third, "heartbeat", () => this.#heartbeat());
    void this.#every(third, "upkeep", () => call(this.#pool, "upkeep", { p_worker_id: this.id }));
    void this.#listen();
    this.options.log("ready");
    for (let idle = 0; !this.#stopping; ) {
      try {
        idle = (await this.#step()) ? 0 : idle + 1;
      } catch (error) {
        this.#complain("claim", error);
        idle += 1;
      }
      if (idle > 0) await this.#sleep(Math.min(1000, 50 * 2 ** (idle - 1)));
    }
    await this.#leave();
  }

  /** Stop gracefully. */
  stop(): void {
    this.#stopping = true;
    this.#wake();
  }

  async #checkSchema(): Promise<void> {
    const [version] = await call(this.#pool, "schema_version", {});
    if (version === undefined || !(version.serves <= REVISION && REVISION <= version.revision)) {
      throw new Error(`the schema is at ${version?.revision}, this program is made for ${REVISION}: generate it anew`);
    }
  }

  // --- claims ---------------------------------------------------------------------------------------------------

  /** Claim what there is room for. Answers whether there may be more at once. */
  async #step(): Promise<boolean> {
    const free = this.#alone || (await this.#makesWay()) ? 0 : this.options.slots - this.#runs.size;
    const jobs = free > 0 ? await this.#claim(free) : [];
    jobs.forEach((job) => void this.#start(job));
    if (jobs.length === 0 && this.#runs.size === 0 && Date.now() >= this.#lookAt) return this.#claimSuspect();
    return free > 0 && jobs.length === free;
  }

  async #claim(free: number): Promise<Claimed[]> {
    const jobs = await this.#unhurried("claim_jobs", {
      ...this.#what(),
      p_limit: free,
      p_cursors: this.options.queues.map((queue) => this.#cursors.get(queue) ?? null),
    });
    for (const job of jobs) this.#cursors.set(job.queue, job.tenant_id); // the last of each queue stays
    return jobs;
  }

  async #claimSuspect(): Promise<boolean> {
    this.#lookAt = Date.now() + SUSPECTS_EVERY;
    this.#makesWayUntil = 0;
    const [job] = await this.#unhurried("claim_suspect", this.#what());
    if (job === undefined) return false;
    this.#alone = true;
    void this.#start(job).finally(() => (this.#alone = false));
    return true;
  }

  /** Whether nothing is claimed for now, because a suspect waits for a worker that is empty. */
  async #makesWay(): Promise<boolean> {
    const now = Date.now();
    if (now < this.#makesWayUntil) return true;
    if (this.#runs.size === 0 || now < this.#lookAt) return false;
    this.#lookAt = now + MAKES_WAY_EVERY;
    const { p_queues, p_types } = this.#what();
    const [found] = await call(this.#pool, "has_suspect", { p_queues, p_types });
    if (found?.has_suspect) {
      this.#makesWayUntil = now + MAKES_WAY_FOR;
      this.#lookAt = 0; // as soon as it is empty
    }
    return found?.has_suspect === true;
  }

  /** A claim whose commit does not wait for the disk: one that a crash forgets is only a job still queued. */
  #unhurried<F extends "claim_jobs" | "claim_suspect">(name: F, given: Functions[F]["arguments"]): Promise<Claimed[]> {
    return transaction(this.#pool, async (session) => {
      await session.query("set local synchronous_commit = off");
      return call<F, { seconds: number | null }>(session, name, given, SECONDS);
    });
  }

  #what() {
    const p_types = Object.keys(this.options.handlers); // jobs of other types are left to other workers
    return { p_worker_id: this.id, p_queues: this.options.queues, p_types, p_alive: `${this.options.alive} seconds` };
  }

  async #start(job: Claimed): Promise<void> {
    const run = new Run(job, this.#pool, this.options.handlers[job.type]);
    this.#runs.set(job.lease_token, run);
    this.options.log(`run ${job.type} ${job.job_id}`);
    try {
      this.options.log(`${await run.toItsEnd()} ${job.type} ${job.job_id}`);
    } catch (error) {
      this.#complain(job.job_id, error); // its lease ends with the next heartbeats, which do not name it any more
    } finally {
      this.#runs.delete(job.lease_token);
      this.#wake();
    }
  }

  // --- signs of life --------------------------------------------------------------------------------------------

  async #heartbeat(): Promise<void> {
    const signals = await call(this.#beats, "heartbeat_jobs", {
      ...this.#what(),
      p_runs: [...this.#runs.keys()],
      p_name: `${hostname()}:${process.pid}`,
      p_connections: this.options.slots + 4,
    });
    for (const { signal, lease_token } of signals) {
      if (signal === "lost") this.#runs.get(lease_token)?.stop("lost");
      if (signal === "cancel") this.#runs.get(lease_token)?.stop("canceled");
    }
  }

  /** Hear hints. One may be missing, so the loop polls all the same. */
  async #listen(): Promise<void> {
    const ears = (this.#ears = new pg.Client({ connectionString: this.options.database, application_name: NAME }));
    ears.on("error", () => {});
    ears.on("end", () => {
      if (!this.#stopping) setTimeout(() => void this.#listen(), 1000).unref();
    });
    ears.on("notification", ({ payload }) => {
      if (payload === ":cancel") this.#heartbeat().catch((error: unknown) => this.#complain("heartbeat", error));
      else if (this.options.queues.includes(payload ?? "")) this.#wake();
    });
    await ears.connect().then(() => ears.query(`listen ${CHANNEL}`)).then(() => call(ears, "doze", { p_queues: this.options.queues }), () => {});
    this.#wake();
  }

  /** Again and again, with some chance in the interval. A failure is no reason to end: the next one may go well. */
  async #every(ms: number, what: string, work: () => Promise<unknown>): Promise<void> {
    while (!this.#gone.signal.aborted) {
      await pause(ms * (0.8 + 0.2 * Math.random()), undefined, { signal: this.#gone.signal }).catch(() => {});
      if (!this.#gone.signal.aborted) await work().catch((error: unknown) => this.#complain(what, error));
    }
  }

  /** Sleep so long, or until there is something to do: also what came up while nobody slept. */
  async #sleep(ms: number): Promise<void> {
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#rouse = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#woken = false;
  }

  #wake(): void {
    this.#woken = true;
    this.#rouse();
  }

  #complain(what: string, error: unknown): void {
    this.options.log(`error ${what}: ${(error as Error).message}`);
  }

  // --- the end --------------------------------------------------------------------------------------------------

  /** Let handlers end, then ask them to, then give back what does not, and take leave. */
  async #leave(): Promise<void> {
    await this.#empty(this.options.grace * 1000);
    for (const run of this.#runs.values()) run.stop("stopping");
    await this.#empty(1000);
    const released = Promise.allSettled([...this.#runs.values()].map((run) => run.release()));
    await Promise.race([released, pause(5000)]); // without a database: their leases end by themselves
    this.#gone.abort();
    await call(this.#beats, "heartbeat_jobs", { p_worker_id: this.id, p_alive: "0" });
    void this.#pool.end();
    await Promise.allSettled([this.#ears?.end(), this.#beats.end()]);
    this.options.log("gone");
  }

  async #empty(ms: number): Promise<void> {
    for (const until = Date.now() + ms; this.#runs.size > 0 && Date.now() < until; ) {
      await pause(20);
    }
  }
}
