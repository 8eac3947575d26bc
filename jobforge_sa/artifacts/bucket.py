"""Artifacts in a bucket of S3, or of what speaks like it, through boto3."""

from __future__ import annotations

import base64
import threading
from typing import Any

from jobforge_sa.artifacts import place
from jobforge_sa.artifacts.artifact import Artifact, ArtifactRef
from jobforge_sa.artifacts.sink import note
from jobforge_sa.context import Context
from jobforge_sa.errors import ArtifactNotStored, ArtifactTooLarge

MAX_BYTES = 100 * 1024 * 1024
SECONDS = 10  # to connect, and between two signs of life; a job's timeout bounds the whole


class S3Sink:
    """Keeps artifacts as objects: `<prefix><tenant>/<job>/<run>/<name>`. Old ones go by the bucket's lifecycle rules.

    Args:
        bucket: Its name.
        prefix: What comes before the tenant, such as `reports/`.
        client: A client of boto3's. Default: one by boto3's own search for credentials and region, made when it is
            first needed, and shared by all threads.
        max_bytes: Refuse what is larger.
    """

    def __init__(self, bucket: str, prefix: str = "", *, client: Any = None, max_bytes: int = MAX_BYTES) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.max_bytes = max_bytes
        self._client = client
        self._lock = threading.Lock()

    def put(self, ctx: Context, artifact: Artifact) -> ArtifactRef:
        """See `Sink.put`.

        Raises:
            ImportError: boto3 is not installed.
        """
        if len(artifact.body) > self.max_bytes:
            raise ArtifactTooLarge(
                f"artifact {artifact.name} has {len(artifact.body)} bytes, {self.max_bytes} are allowed",
                cure="ask for less, or raise max_bytes",
            )
        key = self.prefix + "/".join(place.parts(ctx.job, artifact))
        self._send(key, artifact)
        return note(ctx, artifact, f"s3://{self.bucket}/{key}")

    def _send(self, key: str, artifact: Artifact) -> None:
        client = self._ready()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            client.put_object(
                Bucket=self.bucket, Key=key, Body=artifact.body, ContentType=artifact.media_type,
                # the bucket compares: what was cut on the way is refused, and not kept
                ChecksumSHA256=base64.b64encode(bytes.fromhex(artifact.sha256)).decode(),
            )  # fmt: skip
        except (BotoCoreError, ClientError) as error:
            said = (
                error.response.get("Error", {}).get("Code", "")
                if isinstance(error, ClientError)
                else type(error).__name__
            )
            raise ArtifactNotStored(
                f"artifact {artifact.name} was not taken by the bucket {self.bucket}: {said}",
                cure="look at the bucket, and at the worker's credentials, region and endpoint for it",
            ) from error

    def _ready(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _client()
            return self._client


def _client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ImportError("boto3 is not installed; run: pip install 'jobforge_sa[s3]'") from error
    return boto3.client(
        "s3", config=Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 2})
    )
