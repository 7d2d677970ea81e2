"""Converting and verifying: the checkpoints package behind a job's messages."""

from pathlib import Path
from typing import Literal

from bilin_engine.chat_format.template import find_template, require_renderable
from bilin_engine.checkpoints import gguf_file
from bilin_engine.checkpoints.convert import ConvertSettings, convert
from bilin_engine.checkpoints.gguf_import import GgufCheckpoint, import_gguf
from bilin_engine.checkpoints.huggingface import ImportSettings, import_folder
from bilin_engine.checkpoints.reference import read_shape_config
from bilin_engine.checkpoints.streaming import ConversionStopped, ConvertProgress, verify
from bilin_engine.config import GLMConfig, GroupSize, is_huggingface_folder
from bilin_engine.errors import BadRequestError
from bilin_engine.jobs.base import JobReporter, JobStopped
from bilin_engine.jobs.import_folder import copy_ready, is_ready
from bilin_engine.jobs.import_folder import import_folder as copy_described
from bilin_engine.library import DESCRIPTION_FILE
from bilin_engine.models.calibration import calibrate
from bilin_engine.placement.known_configs import GLM_130B
from bilin_engine.protocol import ConvertModel, ImportFolder, VerifyModel
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer
from bilin_engine.tokenizers.load import load_tokenizer

# Sizes of a checkpoint that is not GLM-130B's, beside it; the published files hold none.
SHAPE_FILE = "config.json"


def convert_model(work: ConvertModel, reporter: JobReporter) -> Path:
    """Makes `work.folder` and checks it. Raises BilinError, JobStopped."""
    source, folder = Path(work.source), Path(work.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.suffix == gguf_file.SUFFIX:
            return _convert_gguf(work, source, folder, reporter)
        # First: training with DeepSpeed leaves `latest` and rank files beside safetensors.
        if is_huggingface_folder(source):
            return _convert_huggingface(work, source, folder, reporter)
        return _convert_reference(work, source, folder, reporter)
    except ConversionStopped as error:
        raise JobStopped from error


def _convert_reference(
    work: ConvertModel, source: Path, folder: Path, reporter: JobReporter
) -> Path:
    settings = ConvertSettings(
        target=work.target,
        group_size=group_size_of(work.group_size),
        tokenizer_file=Path(work.tokenizer_file) if work.tokenizer_file else None,
    )
    return convert(
        source,
        folder,
        shape_of(source, work.config_file),
        settings,
        on_progress=lambda progress: _tell(reporter, progress),
        should_stop=reporter.should_stop,
    )


def _convert_gguf(work: ConvertModel, source: Path, folder: Path, reporter: JobReporter) -> Path:
    group_size = group_size_of(work.group_size)
    if group_size == "source" or work.target == "fp16":
        raise BadRequestError(
            "a GGUF file becomes INT4 or INT8 in groups; use 32, 64, 128 or row, or leave the "
            "group size out: then what the file has in 4-bit groups of 32 is kept"
        )
    with GgufCheckpoint(source) as checkpoint:
        template = checkpoint.tokenizer.chat_template
    if template:
        # Somebody else's program: better refused now than after an hour, or in the first chat.
        require_renderable(template)
    return import_gguf(
        source,
        folder,
        ImportSettings(target=work.target, group_size=group_size),
        on_progress=lambda progress: _tell(reporter, progress),
        should_stop=reporter.should_stop,
        calibrate=calibrate,
    )


def _convert_huggingface(
    work: ConvertModel, source: Path, folder: Path, reporter: JobReporter
) -> Path:
    group_size = group_size_of(work.group_size)
    if group_size == "source" or work.target == "fp16":
        raise BadRequestError(
            "a Hugging Face folder becomes INT4 or INT8 in groups; use 128, 64, 32 or row"
        )
    if is_ready(source):
        if work.target or work.group_size not in ("", "source"):
            raise BadRequestError(
                f"{source} is quantized already and is copied as it is; leave out the target and "
                "the group size"
            )
        if (source / DESCRIPTION_FILE).is_file():  # what it says of itself goes along
            return copy_described(ImportFolder(source=str(source), folder=str(folder)), reporter)
        return copy_ready(source, folder, reporter)
    template = find_template(source)
    if template and isinstance(load_tokenizer(source), HuggingFaceTokenizer):
        require_renderable(template)
    return import_folder(
        source,
        folder,
        ImportSettings(target=work.target, group_size=group_size),
        on_progress=lambda progress: _tell(reporter, progress),
        should_stop=reporter.should_stop,
        calibrate=calibrate,
    )


def verify_model(work: VerifyModel, reporter: JobReporter) -> Path:
    """Compares a folder with its hashes. Raises ModelBrokenError, JobStopped."""
    try:
        verify(
            Path(work.folder),
            on_progress=lambda progress: _tell(reporter, progress),
            should_stop=reporter.should_stop,
        )
    except ConversionStopped as error:
        raise JobStopped from error
    return Path(work.folder)


def shape_of(source: Path, config_file: str = "") -> GLMConfig:
    """The sizes of a checkpoint: from a file, from the one beside it, or GLM-130B's."""
    if config_file:
        return read_shape_config(Path(config_file))
    beside = source / SHAPE_FILE
    return read_shape_config(beside) if beside.is_file() else GLM_130B


def group_size_of(text: str) -> GroupSize | Literal["source"] | None:
    """A group size as a message has it; None for "". Raises BadRequestError."""
    if not text:
        return None
    if text == "row":
        return "row"
    if text == "source":
        return "source"
    if not text.isdecimal() or len(text) > 6:
        raise BadRequestError(f"group size {text!r} is none; use row, source, 128, 64 or 32")
    return int(text)


def _tell(reporter: JobReporter, progress: ConvertProgress) -> None:
    reporter.tell(
        progress.stage,
        progress.done,
        progress.total,
        shard=progress.shard,
        num_shards=progress.num_shards,
    )
