"""The engine's queue as the page shows it."""

from pathlib import Path

from bilin_app.controllers.engine_sentences import engine_sentence
from bilin_app.controllers.model_views import JobView
from bilin_engine.protocol import (
    ConvertModel,
    DownloadModel,
    ImportFolder,
    JobInfo,
    MoveLibrary,
    SelfTest,
    VerifyModel,
)


def job_view(job: JobInfo) -> JobView:
    """One job."""
    match job.work:
        case ConvertModel(source=source, folder=folder):
            kind, title = "convert", f"{Path(source).name} → {Path(folder).name}"
        case VerifyModel(folder=folder):
            kind, title = "verify", Path(folder).name
        case DownloadModel(repository=repository):
            kind, title = "download", repository.name
        case ImportFolder(source=source):
            kind, title = "import", Path(source).name
        case MoveLibrary(folder=folder):
            kind, title = "move", folder
        case SelfTest():
            kind, title = "self_test", ""
    return JobView(
        id=str(job.job),
        kind=kind,
        title=title,
        state=job.state,
        fraction=job.fraction,
        stage=job.stage,
        rate_bytes_s=job.rate_bytes_s,
        eta_s=job.eta_s,
        reason=engine_sentence(job.reason),
        shard=job.shard,
        num_shards=job.num_shards,
        report=job.report,
    )
