// Made by scripts/generate.mjs from the JSON Schemas of `jobforge schemas`; not to be edited.

/** The revision of the schema that this was made from. */
export const REVISION = "0002";

/** The channel of the hints that wake workers. */
export const CHANNEL = "jobforge";

export type Tenancy = "plain" | "signed";

/** A job of enqueue_jobs: enqueue_job's arguments without p_. null means the default; unknown names are ignored. */
export type JobItem = {
  type: string;
  payload?: Record<string, unknown> | null | undefined;
  tenant_id?: string | null | undefined;
  queue?: string | null | undefined;
  priority?: number | null | undefined;
  run_at?: Date | string | null | undefined;
  delay?: string | null | undefined;
  idempotency_key?: string | null | undefined;
  max_attempts?: number | null | undefined;
  retry?: RetryPolicy | null | undefined;
  timeout?: string | null | undefined;
  trace?: Record<string, unknown> | null | undefined;
  parent_id?: string | null | undefined;
  subject?: string | null | undefined;
  unique_key?: string | null | undefined;
  on_duplicate?: "keep" | "replace" | "merge" | null | undefined;
  ordering_key?: string | null | undefined;
};

export type Signal = "lost" | "cancel" | "released";

/** How a run ended. Numbers in plain digits, at most nine on each side of the point: no exponent. */
export type ResultItem = {
  job_id: string;
  lease_token: string;
  outcome: "succeeded" | "failed" | "timed_out" | "snoozed" | "released" | "canceled";
  result?: unknown;
  error?: unknown;
  delay?: number | null | undefined;
  run_ms?: number | null | undefined;
  final?: boolean | null | undefined;
};

export type Answer = "done" | "already_done" | "lost" | "refused";

/** How long to wait after a failed attempt, in seconds. */
export type RetryPolicy = {
  base?: number | undefined;
  max?: number | undefined;
  factor?: number | undefined;
  jitter?: number | undefined;
} | {
  delays: number[];
};

/** What went wrong, as this package writes it and its tools show it. Other JSON is kept too. */
export type JobError = {
  type?: string | undefined;
  message?: string | undefined;
  traceback?: string | undefined;
};

/** The functions of the contract: what they take and the rows they answer with, as the driver `pg` gives them. */
export interface Functions {
  /** This schema's revision, and the oldest code it serves. For admin, app, worker. */
  schema_version: {
    arguments: {
    
    };
    row: {
      revision: string;
      serves: string;
      tenancy: Tenancy;
    };
  };
  /** Enqueue an array of jobs in this transaction, all or nothing. For admin, app. */
  enqueue_jobs: {
    arguments: {
      p_jobs: JobItem[];
      p_tenant_id?: string | null | undefined;
      p_notify?: boolean | undefined;
    };
    row: {
      position: number;
      id: string;
      created: boolean;
      payload_differs: boolean;
    };
  };
  /** Give a worker jobs with leases, fairly over the tenants. For worker. */
  claim_jobs: {
    arguments: {
      p_worker_id: string;
      p_queues: (string | null)[];
      p_types: (string | null)[];
      p_limit?: number | undefined;
      p_queue_limits?: (number | null)[] | null | undefined;
      p_cursors?: (string | null)[] | null | undefined;
      p_alive?: string | undefined;
      p_alone?: boolean | undefined;
    };
    row: {
      job_id: string;
      tenant_id: string;
      queue: string;
      type: string;
      priority: number;
      payload: string;
      run: number;
      attempt: number;
      max_attempts: number;
      crashes: number;
      lease_token: string;
      claimed_at: Date;
      deadline: Date;
      timeout: string | null;
      run_at: Date;
      created_at: Date;
      idempotency_key: string | null;
      parent_id: string | null;
      trace: string | null;
      tenant_token: string | null;
    };
  };
  /** Give a worker one job that has to run alone. For worker. */
  claim_suspect: {
    arguments: {
      p_worker_id: string;
      p_queues: (string | null)[];
      p_types: (string | null)[];
      p_alive?: string | undefined;
    };
    row: {
      job_id: string;
      tenant_id: string;
      queue: string;
      type: string;
      priority: number;
      payload: string;
      run: number;
      attempt: number;
      max_attempts: number;
      crashes: number;
      lease_token: string;
      claimed_at: Date;
      deadline: Date;
      timeout: string | null;
      run_at: Date;
      created_at: Date;
      idempotency_key: string | null;
      parent_id: string | null;
      trace: string | null;
      tenant_token: string | null;
    };
  };
  /** Whether a suspect waits that a worker could run. For worker. */
  has_suspect: {
    arguments: {
      p_queues: (string | null)[];
      p_types: (string | null)[];
    };
    row: {
      has_suspect: boolean;
    };
  };
  /** Say that a worker sleeps, and wants to be woken; or that it does no longer. For worker. */
  doze: {
    arguments: {
      p_queues: (string | null)[];
      p_asleep?: boolean | undefined;
    };
    row: {
      doze: boolean;
    };
  };
  /** A worker's sign of life; tells it which runs are lost or shall stop. For worker. */
  heartbeat_jobs: {
    arguments: {
      p_worker_id: string;
      p_runs?: (string | null)[] | null | undefined;
      p_alive?: string | undefined;
      p_name?: string | null | undefined;
      p_queues?: (string | null)[] | null | undefined;
      p_types?: (string | null)[] | null | undefined;
      p_connections?: number | null | undefined;
    };
    row: {
      signal: Signal;
      job_id: string | null;
      lease_token: string;
    };
  };
  /** End runs by their lease tokens; an answer for each. For app, worker. */
  complete_jobs: {
    arguments: {
      p_results: ResultItem[];
    };
    row: {
      item: number;
      job_id: string | null;
      answer: Answer;
      reason: string | null;
    };
  };
  /** Rescue, promote, late cancels, dead workers, pruning; in bounded steps. For admin, worker. */
  upkeep: {
    arguments: {
      p_worker_id?: string | null | undefined;
      p_limit?: number | undefined;
      p_prune?: boolean | undefined;
    };
    row: {
      step: string;
      moved: number;
      jobs: unknown;
    };
  };
}

/** The SQL types of their arguments. */
export const SIGNATURES = {
  schema_version: { },
  enqueue_jobs: { p_jobs: "json", p_tenant_id: "text", p_notify: "boolean" },
  claim_jobs: { p_worker_id: "uuid", p_queues: "text[]", p_types: "text[]", p_limit: "integer", p_queue_limits: "integer[]", p_cursors: "text[]", p_alive: "interval", p_alone: "boolean" },
  claim_suspect: { p_worker_id: "uuid", p_queues: "text[]", p_types: "text[]", p_alive: "interval" },
  has_suspect: { p_queues: "text[]", p_types: "text[]" },
  doze: { p_queues: "text[]", p_asleep: "boolean" },
  heartbeat_jobs: { p_worker_id: "uuid", p_runs: "uuid[]", p_alive: "interval", p_name: "text", p_queues: "text[]", p_types: "text[]", p_connections: "integer" },
  complete_jobs: { p_results: "json" },
  upkeep: { p_worker_id: "uuid", p_limit: "integer", p_prune: "boolean" },
} as const;

export type CarrierBook = {
  order: number;
  carrier: string;
};

export type CarrierWatch = {
  order: number;
  seconds: number;
};

export type LabelPrint = {
  order: number;
  name: string;
  weight: string;
};

export type ReceiptSend = {
  order: number;
  to: string;
  total: string;
};

/** The payload of each type of job. */
export interface Payloads {
  "carrier.book": CarrierBook;
  "carrier.watch": CarrierWatch;
  "label.print": LabelPrint;
  "receipt.send": ReceiptSend;
}

/** The queue of each. */
export const QUEUES: Record<keyof Payloads, string> = {
  "carrier.book": "shop",
  "carrier.watch": "shop",
  "label.print": "shop",
  "receipt.send": "shop",
};
