"""The jobs as mapped classes, for reading: `select(Job).where(Job.state == "dead")`, under the policies of who asks."""

from jobforge_sa.models.attempt import Attempt
from jobforge_sa.models.base import Base
from jobforge_sa.models.delivery import Delivery
from jobforge_sa.models.job import Job
from jobforge_sa.models.result import Result

__all__ = ["Attempt", "Base", "Delivery", "Job", "Result"]
