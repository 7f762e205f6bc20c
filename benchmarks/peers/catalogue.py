"""The peers: how each is run as usual, and at the best that its own documentation names.

Usual is what its first steps show, with its defaults, but for what makes it acknowledge after success. Best was chosen
among the documented settings by trying them on two cores; more of the same was slower or no faster.
"""

from benchmarks.peers.peer import BEST, USUAL, Peer, Way

LATE = {"task_acks_late": True}
WARNINGS = ("--log-level", "WARNING")
SIMPLE = ("-n", "4", "-w", "rq.SimpleWorker", "-S", "rq.serializers.JSONSerializer", "--logging-level", "WARNING")
QUICK_START = ("--without-gossip", "--without-mingle", "--without-heartbeat")

FASTSTREAM = Peer(
    "FastStream",
    "faststream",
    "nothing: the function runs in the consumer",
    "XACK once the function has returned, the default `ack_policy`",
    "its entries stay pending, until a subscriber with `min_idle_time` claims them",
    (
        "https://faststream.ag2.ai/latest/redis/streams/groups/",
        "https://faststream.ag2.ai/latest/redis/streams/ack/",
        "https://faststream.ag2.ai/latest/redis/streams/claiming/",
    ),
    (
        Way(USUAL, "`StreamSub` with group and consumer", 12_000, ("faststream", "run", "faststream_app:app")),
        Way(
            BEST,
            "2 processes, `max_workers=10`, `max_records=100`, `apply_types=False`, no logger",
            28_000,
            ("faststream", "run", "faststream_app:app", "--workers", "2"),
            {"stream": {"max_records": 100}, "subscriber": {"max_workers": 10}, "silent": True},
        ),
        Way(
            "in batches",
            "as best, `batch=True`, `max_records=500`: one call and one XACK for up to 500 events,"
            " which fail together; hence no peer of what calls a function for each",
            60_000,
            ("faststream", "run", "faststream_app:app", "--workers", "2"),
            {"stream": {"max_records": 500, "batch": True}, "silent": True},
            each=False,
        ),
    ),
)

TASKIQ = Peer(
    "taskiq-redis",
    "taskiq",
    "nothing: the function runs in the worker",
    "XACK once the result is saved (`when_saved`, the default) or the function has returned (`when_executed`)",
    "its entries stay pending, until another worker claims them after `idle_timeout`, 10 minutes by default",
    ("https://taskiq-python.github.io/guide/cli.html", "https://github.com/taskiq-python/taskiq-redis"),
    (
        Way(USUAL, "`RedisStreamBroker`, 2 processes", 20_000, ("taskiq", "worker", "taskiq_app:broker")),
        Way(
            BEST,
            "2 processes, `--no-parse`, `--ack-type when_executed`, logs from warnings up",
            24_000,
            ("taskiq", "worker", "taskiq_app:broker", "--no-parse", "--ack-type", "when_executed", *WARNINGS),
        ),
    ),
)

DRAMATIQ = Peer(
    "dramatiq",
    "dramatiq",
    "nothing: the actor runs in a thread of the worker",
    "acked once the actor has returned; always so",
    "delivered again when the worker's heartbeat is missed for a minute",
    (
        "https://dramatiq.io/advanced.html#message-persistence",
        "https://dramatiq.io/reference.html#environment-variables",
    ),
    (
        Way(USUAL, "2 processes of 8 threads", 18_000, ("dramatiq", "dramatiq_app")),
        Way(
            BEST,
            "2 processes of 2 threads, `dramatiq_queue_prefetch=1000`",
            30_000,
            ("dramatiq", "dramatiq_app", "--processes", "2", "--threads", "2"),
            environment={"dramatiq_queue_prefetch": "1000"},
        ),
    ),
)

HUEY = Peer(
    "huey",
    "huey",
    "nothing: the function runs in the consumer's thread or process",
    "**before it runs**: BRPOP takes the task off its list, and no setting changes that",
    "what runs is lost",
    (
        "https://huey.readthedocs.io/en/latest/consumer.html",
        "https://huey.readthedocs.io/en/latest/deployment.html#shutdown-signals",
    ),
    (
        Way(USUAL, "1 thread", 12_000, ("huey_consumer", "huey_app.huey")),
        Way(
            BEST,
            "4 processes, quiet, no periodic tasks",
            30_000,
            ("huey_consumer", "huey_app.huey", "-k", "process", "-w", "4", "-q", "-n"),
        ),
    ),
    acks_late=False,
)

SAQ = Peer(
    "SAQ",
    "saq",
    "nothing: the function runs in the worker",
    "off the active list once the function has returned; always so",
    "swept when its timeout is over (10 s by default, looked for every minute); run again only if `retries` allows it",
    ("https://saq-py.readthedocs.io/en/latest/usage.html", "https://github.com/tobymao/saq"),
    (
        Way(USUAL, "`concurrency` 10", 10_000, ("saq", "saq_app.settings")),
        Way(
            BEST,
            "2 processes, `concurrency` 32, orjson for `dump` and `load`, results not kept (`ttl=-1`), quiet",
            18_000,
            ("saq", "saq_app.settings", "--workers", "2", "--quiet"),
            {"worker": {"concurrency": 32}, "serializer": "orjson", "job": {"ttl": -1}},
        ),
    ),
)

ARQ = Peer(
    "arq",
    "arq",
    "nothing: the function runs in the worker",
    "off the queue once the function has returned; always so",
    "run again when its mark of being in progress expires, 310 s by default",
    ("https://arq-docs.helpmanual.io/",),
    (
        Way(USUAL, "`max_jobs` 10, polls every 0.5 s", 1_000, ("arq", "arq_app.WorkerSettings")),
        Way(
            BEST,
            "`max_jobs` 100, `poll_delay` 10 ms, results neither kept nor logged, msgpack; a second process was slower",
            8_000,
            ("arq", "arq_app.WorkerSettings"),
            {
                "worker": {"max_jobs": 100, "poll_delay": 0.01, "keep_result": 0, "log_results": False},
                "serializer": "msgpack",
            },
        ),
    ),
)

STREAQ = Peer(
    "streaQ",
    "streaq",
    "nothing: the function runs in the worker",
    "XACK once the function has returned; always so",
    "run again when it was idle for `idle_timeout`, a minute by default",
    (
        "https://streaq.readthedocs.io/en/latest/worker.html",
        "https://github.com/tastyware/streaq/tree/master/benchmarks",
    ),
    (
        Way(USUAL, "`concurrency` 16", 5_000, ("streaq", "run", "streaq_app:worker")),
        Way(
            BEST,
            "2 processes with uvloop, `concurrency` 32, results not kept (`ttl=0`), tasks not logged",
            9_000,
            ("streaq", "run", "streaq_app:worker", "--workers", "2"),
            {
                "worker": {"concurrency": 32, "anyio_kwargs": {"use_uvloop": True}},
                "task": {"ttl": 0, "silent": True},
            },
        ),
    ),
)

CELERY = Peer(
    "Celery",
    "celery",
    "usual: the pool's process, one for many tasks; best: nothing",
    "once the task has returned, by `task_acks_late`",
    "delivered again after `visibility_timeout`, an hour by default; where only the pool's process is killed, acked and"
    " lost unless `task_reject_on_worker_lost`",
    (
        "https://docs.celeryq.dev/en/stable/userguide/optimizing.html",
        "https://docs.celeryq.dev/en/stable/userguide/concurrency/index.html",
        "https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html",
    ),
    (
        Way(USUAL, "prefork, 2 processes", 5_000, ("celery", "-A", "celery_app", "worker"), LATE),
        Way(
            BEST,
            "2 workers with `--pool solo`, `worker_prefetch_multiplier` 64, no gossip, mingle or heartbeat",
            8_000,
            ("celery", "-A", "celery_app", "worker", "--pool", "solo", "--loglevel", "WARNING", *QUICK_START),
            {**LATE, "worker_prefetch_multiplier": 64, "task_ignore_result": True},
            processes=2,
        ),
    ),
)

RQ = Peer(
    "RQ",
    "rq",
    "usual: a process forked for each job; best: nothing",
    "moved from the queue to the started registry before, and from there once the function has returned; always so",
    "found by the registry's cleanup; run again only with `Retry`, else counted as failed",
    ("https://python-rq.org/docs/workers/", "https://github.com/rq/rq/blob/master/docs/benchmark.md"),
    (
        Way(USUAL, "1 `Worker`", 300, ("rq", "worker", "events", "--url", "{url}")),
        Way(
            BEST,
            "4 `SimpleWorker`s in a pool, results not kept (`result_ttl=0`), JSON, logs from warnings up",
            2_000,
            ("rq", "worker-pool", "events", "--url", "{url}", *SIMPLE),
            {"serializer": "json", "job": {"result_ttl": 0}},
        ),
    ),
)

_BULLMQ_ACKED = "moved to the completed once the processor has returned; always so"
_BULLMQ_KILLED = "run again, at most once by default, when its lock has expired, 30 s by default"
_BULLMQ = ("node", "{programs}/bullmq_app.cjs", "work")

BULLMQ = Peer(
    "BullMQ in process",
    "bullmq",
    "nothing: the processor runs in the worker",
    _BULLMQ_ACKED,
    _BULLMQ_KILLED,
    (
        "https://docs.bullmq.io/guide/workers/concurrency",
        "https://docs.bullmq.io/guide/jobs/stalled",
    ),
    (
        Way(USUAL, "`concurrency` 1", 16_000, _BULLMQ),
        Way(
            BEST,
            "`concurrency` 100; a second process, 200, and removing what is completed were slower or no faster",
            70_000,
            _BULLMQ,
            {"worker": {"concurrency": 100}},
        ),
    ),
    node=True,
)

BULLMQ_SANDBOXED = Peer(
    "BullMQ sandboxed",
    "bullmq",
    "a process for each of `concurrency`, one for many jobs",
    _BULLMQ_ACKED,
    _BULLMQ_KILLED,
    (
        "https://docs.bullmq.io/guide/workers/sandboxed-processors",
        "https://docs.bullmq.io/guide/jobs/stalled",
    ),
    (
        Way(USUAL, "`concurrency` 1", 7_000, _BULLMQ, {"sandboxed": True}),
        Way(BEST, "`concurrency` 4", 16_000, _BULLMQ, {"sandboxed": True, "worker": {"concurrency": 4}}),
    ),
    node=True,
)

PEERS = (FASTSTREAM, TASKIQ, DRAMATIQ, HUEY, SAQ, ARQ, STREAQ, CELERY, RQ, BULLMQ, BULLMQ_SANDBOXED)
