// Made by scripts/generate.mjs from the JSON Schemas of `jobforge schemas`; not to be edited.

/** The revision of the schema that this was made from. */
export const REVISION = "0002";

/** The channel of the hints that wake workers. */
export const CHANNEL = "jobforge";

/** Where a job stands. */
export type State = "scheduled" | "queued" | "running" | "succeeded" | "dead" | "canceled";

/** How a run ended. */
export type Outcome = "succeeded" | "failed" | "timed_out" | "lost" | "snoozed" | "released" | "canceled";

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
};

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

export type Signal = "lost" | "cancel" | "released";

export type Tenancy = "plain" | "signed";

export type AllAttempts = {
  job_id: string;
  run: number;
  tenant_id: string;
  attempt: number;
  outcome: Outcome;
  worker_id: string;
  claimed_at: Date;
  finished_at: Date;
  run_ms: number | null;
  error: unknown;
};

export type AllJobs = {
  id: string;
  tenant_id: string;
  queue: string;
  type: string;
  priority: number;
  payload: Record<string, unknown>;
  run_at: Date;
  max_attempts: number;
  timeout: string | null;
  retry: RetryPolicy | null;
  idempotency_key: string | null;
  unique_key: string | null;
  subject: string | null;
  parent_id: string | null;
  cause: string | null;
  trace: Record<string, unknown> | null;
  created_at: Date;
  state: State;
  run: number;
  attempt: number;
  crashes: number;
  due_at: Date | null;
  worker_id: string | null;
  claimed_at: Date | null;
  deadline: Date | null;
  finished_at: Date | null;
  result: unknown;
};

export type Retention = {
  kind: string;
  type: string;
  keep: string | null;
};

export type Tenants = {
  tenant_id: string;
  paused_at: Date | null;
  max_waiting: number | null;
};

/** The functions of the contract: what they take and the rows they answer with, as the driver `pg` gives them. */
export interface Functions {
  /** The job as it is now; its end will be told on the channel jobforge_done. For admin, app. */
  await_job: {
    arguments: {
      p_job_id: string;
      p_for?: string | undefined;
    };
    row: AllJobs;
  };
  /** Cancel a job of this tenant; a running one is told. For admin, app. */
  cancel_job: {
    arguments: {
      p_job_id: string;
      p_notify?: boolean | undefined;
    };
    row: AllJobs;
  };
  /** Cancel the jobs of a row that have not ended. For admin, app. */
  cancel_jobs_of: {
    arguments: {
      p_subject: string;
      p_notify?: boolean | undefined;
    };
    row: {
      cancel_jobs_of: number;
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
      p_suspect?: boolean | undefined;
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
  /** End one run by its lease token. For app, worker. */
  complete_job: {
    arguments: {
      p_job_id: string;
      p_lease_token: string;
      p_outcome: ResultItem["outcome"];
      p_result?: unknown;
      p_error?: unknown;
      p_delay?: string | null | undefined;
      p_final?: boolean | undefined;
    };
    row: {
      answer: Answer;
      reason: string | null;
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
  /** The tenant of this transaction, or NULL. For admin, app, worker. */
  current_tenant: {
    arguments: {
    
    };
    row: {
      current_tenant: string | null;
    };
  };
  /** Enqueue one job in this transaction. The same tenant, type and key: the original. For admin, app. */
  enqueue_job: {
    arguments: {
      p_type: string;
      p_payload?: Record<string, unknown> | undefined;
      p_tenant_id?: string | null | undefined;
      p_queue?: string | null | undefined;
      p_priority?: number | null | undefined;
      p_run_at?: Date | string | null | undefined;
      p_delay?: string | null | undefined;
      p_idempotency_key?: string | null | undefined;
      p_max_attempts?: number | null | undefined;
      p_retry?: RetryPolicy | null | undefined;
      p_timeout?: string | null | undefined;
      p_trace?: Record<string, unknown> | null | undefined;
      p_parent_id?: string | null | undefined;
      p_subject?: string | null | undefined;
      p_notify?: boolean | undefined;
      p_unique_key?: string | null | undefined;
      p_on_duplicate?: "keep" | "replace" | "merge" | null | undefined;
    };
    row: {
      id: string;
      created: boolean;
      payload_differs: boolean;
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
  /** One job as it is now. For admin, app. */
  get_job: {
    arguments: {
      p_job_id: string;
    };
    row: AllJobs;
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
  /** Whether this lease stands; holds it until the transaction ends. For app, worker. */
  heartbeat_job: {
    arguments: {
      p_job_id: string;
      p_lease_token: string;
    };
    row: {
      held: boolean;
      cancel_requested: boolean;
      deadline: Date | null;
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
  /** What caused a job, and all that it caused. For admin, app. */
  impact_of_job: {
    arguments: {
      p_job_id: string;
      p_limit?: number | undefined;
      p_depth?: number | undefined;
    };
    row: {
      job_id: string | null;
      depth: number | null;
      parent_id: string | null;
      cause: string | null;
      tenant_id: string | null;
      queue: string | null;
      type: string | null;
      subject: string | null;
      trace: Record<string, unknown> | null;
      state: State | null;
      run: number | null;
      attempt: number | null;
      max_attempts: number | null;
      crashes: number | null;
      created_at: Date | null;
      finished_at: Date | null;
      outcome: Outcome | null;
      error_type: string | null;
      cut: boolean | null;
    };
  };
  /** How runs and jobs ended since a time, by type and queue. For admin, app. */
  job_stats: {
    arguments: {
      p_since?: Date | string | null | undefined;
      p_type?: string | null | undefined;
      p_queue?: string | null | undefined;
      p_limit?: number | undefined;
    };
    row: {
      type: string | null;
      queue: string | null;
      succeeded: string | null;
      failed: string | null;
      lost: string | null;
      dead: string | null;
      canceled: string | null;
      run_p50: number | null;
      run_p95: number | null;
      run_max: number | null;
      wait_p50: number | null;
      wait_p95: number | null;
      looked_at: string | null;
      back_to: Date | null;
    };
  };
  /** Jobs by state, type, queue and time; newest first, in pages. For admin, app. */
  list_jobs: {
    arguments: {
      p_state?: "scheduled" | "queued" | "running" | "succeeded" | "dead" | "canceled" | null | undefined;
      p_type?: string | null | undefined;
      p_queue?: string | null | undefined;
      p_since?: Date | string | null | undefined;
      p_until?: Date | string | null | undefined;
      p_limit?: number | undefined;
      p_cursor?: string | null | undefined;
    };
    row: AllJobs;
  };
  /** A moment as people read it. For admin, app. */
  moment_text: {
    arguments: {
      p_at: Date | string;
    };
    row: {
      moment_text: string | null;
    };
  };
  /** The time by which everything here is decided. For admin, app, worker. */
  now: {
    arguments: {
    
    };
    row: {
      now: Date;
    };
  };
  /** Delete what was kept for long enough, in bounded steps. For admin, worker. */
  prune: {
    arguments: {
      p_limit?: number | undefined;
      p_anew?: boolean | undefined;
    };
    row: {
      kind: string;
      pruned: number;
      more: boolean;
    };
  };
  /** A new job like one of this tenant: its child, with the cause replay. For admin, app. */
  replay_job: {
    arguments: {
      p_job_id: string;
      p_if_gone?: JobItem | null | undefined;
      p_notify?: boolean | undefined;
    };
    row: AllJobs;
  };
  /** Move a waiting job of this tenant to another time. For admin, app. */
  reschedule_job: {
    arguments: {
      p_job_id: string;
      p_run_at?: Date | string | null | undefined;
      p_delay?: string | null | undefined;
      p_notify?: boolean | undefined;
    };
    row: AllJobs;
  };
  /** Take back the leases of dead workers and passed deadlines. For admin, worker. */
  rescue_expired_jobs: {
    arguments: {
      p_limit?: number | undefined;
    };
    row: {
      rescue_expired_jobs: number;
    };
  };
  /** Bring a dead or canceled job of this tenant back, with all its attempts. For admin, app. */
  retry_job: {
    arguments: {
      p_job_id: string;
      p_notify?: boolean | undefined;
    };
    row: AllJobs;
  };
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
  /** Why a job does not run, or how it came to its end. For admin, app. */
  why_job: {
    arguments: {
      p_job_id: string;
    };
    row: {
      code: string;
      says: string;
      detail: unknown;
    };
  };
  /** How many workers live that could run this job. For admin, app. */
  workers_of_job: {
    arguments: {
      p_job_id: string;
    };
    row: {
      living: number;
      knowing: number;
      last_alive: Date | null;
      alive_until: Date | null;
      started_at: Date | null;
    };
  };
}

/** The SQL types of their arguments. */
export const SIGNATURES = {
  await_job: { p_job_id: "uuid", p_for: "interval" },
  cancel_job: { p_job_id: "uuid", p_notify: "boolean" },
  cancel_jobs_of: { p_subject: "text", p_notify: "boolean" },
  claim_jobs: { p_worker_id: "uuid", p_queues: "text[]", p_types: "text[]", p_limit: "integer", p_queue_limits: "integer[]", p_cursors: "text[]", p_alive: "interval", p_suspect: "boolean" },
  claim_suspect: { p_worker_id: "uuid", p_queues: "text[]", p_types: "text[]", p_alive: "interval" },
  complete_job: { p_job_id: "uuid", p_lease_token: "uuid", p_outcome: "text", p_result: "json", p_error: "json", p_delay: "interval", p_final: "boolean" },
  complete_jobs: { p_results: "json" },
  current_tenant: { },
  enqueue_job: { p_type: "text", p_payload: "json", p_tenant_id: "text", p_queue: "text", p_priority: "integer", p_run_at: "timestamp with time zone", p_delay: "interval", p_idempotency_key: "text", p_max_attempts: "integer", p_retry: "jsonb", p_timeout: "interval", p_trace: "json", p_parent_id: "uuid", p_subject: "text", p_notify: "boolean", p_unique_key: "text", p_on_duplicate: "text" },
  enqueue_jobs: { p_jobs: "json", p_tenant_id: "text", p_notify: "boolean" },
  get_job: { p_job_id: "uuid" },
  has_suspect: { p_queues: "text[]", p_types: "text[]" },
  heartbeat_job: { p_job_id: "uuid", p_lease_token: "uuid" },
  heartbeat_jobs: { p_worker_id: "uuid", p_runs: "uuid[]", p_alive: "interval", p_name: "text", p_queues: "text[]", p_types: "text[]", p_connections: "integer" },
  impact_of_job: { p_job_id: "uuid", p_limit: "integer", p_depth: "integer" },
  job_stats: { p_since: "timestamp with time zone", p_type: "text", p_queue: "text", p_limit: "integer" },
  list_jobs: { p_state: "text", p_type: "text", p_queue: "text", p_since: "timestamp with time zone", p_until: "timestamp with time zone", p_limit: "integer", p_cursor: "uuid" },
  moment_text: { p_at: "timestamp with time zone" },
  now: { },
  prune: { p_limit: "integer", p_anew: "boolean" },
  replay_job: { p_job_id: "uuid", p_if_gone: "json", p_notify: "boolean" },
  reschedule_job: { p_job_id: "uuid", p_run_at: "timestamp with time zone", p_delay: "interval", p_notify: "boolean" },
  rescue_expired_jobs: { p_limit: "integer" },
  retry_job: { p_job_id: "uuid", p_notify: "boolean" },
  schema_version: { },
  upkeep: { p_worker_id: "uuid", p_limit: "integer", p_prune: "boolean" },
  why_job: { p_job_id: "uuid" },
  workers_of_job: { p_job_id: "uuid" },
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
