"""Files that runs make, such as reports: where they are put, and how they are found again."""

from jobforge_sa.artifacts.artifact import Artifact, ArtifactInfo, ArtifactRef
from jobforge_sa.artifacts.artifacts import Artifacts
from jobforge_sa.artifacts.bucket import S3Sink
from jobforge_sa.artifacts.files import FileSink
from jobforge_sa.artifacts.sink import DatabaseSink, Sink

__all__ = ["Artifact", "ArtifactInfo", "ArtifactRef", "Artifacts", "DatabaseSink", "FileSink", "S3Sink", "Sink"]
