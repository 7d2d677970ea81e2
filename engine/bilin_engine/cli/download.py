"""`bilin-engine download` and `catalog`: models from a hub, headless."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import msgspec

from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, add_place_arguments
from bilin_engine.cli.job import show_progress
from bilin_engine.cli.report import plain_text, print_json
from bilin_engine.cli.session import RequestFailedError
from bilin_engine.errors import BadRequestError, UnsupportedModelError
from bilin_engine.hubs.base import HubBusyError, parse_link
from bilin_engine.library import Library
from bilin_engine.protocol import (
    CatalogEntry,
    CatalogListed,
    DownloadModel,
    Hub,
    JobDone,
    JobProgress,
    JobWork,
    ListCatalog,
    ListRepository,
    Repository,
    RepositoryListed,
)
from bilin_engine.server.job_process import JobCommand, run_job
from bilin_engine.server.library_ops import LibraryOps

_HUBS: dict[str, Hub] = {"hugging-face": "hugging_face", "modelscope": "modelscope"}


def add_download_arguments(parser: ArgumentParser) -> None:
    """What `download` takes."""
    parser.add_argument("repository", help="owner/name, or the address of its page")
    parser.add_argument("--hub", choices=sorted(_HUBS), help="default: hugging-face")
    parser.add_argument(
        "--endpoint",
        default="",
        metavar="URL",
        help="another address of the hub, as https://hf-mirror.com; default: HF_ENDPOINT or "
        "MODELSCOPE_ENDPOINT, else the hub's own",
    )
    parser.add_argument("--revision", default="", help="branch, tag or commit")
    parser.add_argument("--proxy", default="", metavar="URL", help="default: the environment's")
    parser.add_argument("--file", default="", help="one GGUF file of several")
    parser.add_argument("--group-size", default="", metavar="row|128|64|32", help="of the INT4")
    parser.add_argument("--name", default="", help="what the model is called here")
    parser.add_argument("--list", action="store_true", help="say what would be fetched, and stop")
    parser.add_argument("--token-file", type=Path, help=argparse.SUPPRESS)
    parser.epilog = (
        "A token is read from HF_TOKEN or MODELSCOPE_API_TOKEN, or from where the app keeps it. "
        "Ctrl+C pauses; the same command goes on. 按 Ctrl+C 暂停，再次运行同一命令即可继续。"
    )
    add_place_arguments(parser)


def add_catalog_arguments(parser: ArgumentParser) -> None:
    """What `catalog` takes."""
    parser.add_argument(
        "--gpus",
        "--devices",
        dest="devices",
        default="",
        metavar="4x24GiB",
        help="invented devices in place of this machine's",
    )
    add_place_arguments(parser)


def run_download(options: argparse.Namespace) -> int:
    """Fetches, converts where that is needed; after Ctrl+C says how to go on."""
    repository = _repository(options)
    if options.list:
        return _list(options, repository)
    library = Library(options.models_dir)
    name = options.name or repository.name.rpartition("/")[2]
    if Path(name).name != name or name.startswith("."):
        raise BadRequestError(f'the name "{name}" is no plain folder name')
    _tell(options, repository)
    folder = library.models_dir.absolute() / name
    work: JobWork = DownloadModel(
        repository=repository,
        folder=str(folder),
        file=options.file,
        group_size=options.group_size,
    )
    LibraryOps(library).keep_ids()
    try:
        done = _run(options, work)
        if done.then is not None:
            fetched = Path(done.folder)
            done = _run(options, done.then)
            shutil.rmtree(fetched, ignore_errors=True)
    except KeyboardInterrupt:
        print(
            "Paused. What was fetched stays; the same command goes on from there.\n"
            "已暂停。再次运行同一命令即可继续。",
            file=sys.stderr,
        )
        raise
    if options.json:
        print_json(done)
    else:
        print(f"{done.folder} is whole: every file was compared 完好")
    return EXIT_OK


def run_catalog(options: argparse.Namespace) -> int:
    """Lists models that are worth fetching; asks nobody."""
    with options.open_session(options) as session:
        request = ListCatalog(id=1, devices=options.devices)
        listed = session.ask(lambda i: msgspec.structs.replace(request, id=i), CatalogListed)
    if options.json:
        print_json(listed.entries)
        return EXIT_OK
    for entry in listed.entries:
        print(_line(entry))
    return EXIT_OK


def _repository(options: argparse.Namespace) -> Repository:
    link = parse_link(options.repository)
    hub: Hub = _HUBS[options.hub] if options.hub else link.hub or "hugging_face"
    return Repository(
        hub=hub,
        name=link.name,
        endpoint=options.endpoint or link.endpoint,
        revision=options.revision or link.revision,
        proxy=options.proxy,
    )


def _run(options: argparse.Namespace, work: JobWork) -> JobDone:
    command = JobCommand(
        log_dir=options.log_dir, log_level="WARNING", token_file=options.token_file
    )
    try:
        return run_job(command, work, _show_json if options.json else show_progress)
    finally:
        if sys.stderr.isatty() and not options.json:
            print(file=sys.stderr)


def _show_json(progress: JobProgress) -> None:
    """A line a message, for programs; stdout is for the end."""
    print(json.dumps(msgspec.to_builtins(progress)), file=sys.stderr, flush=True)


def _list(options: argparse.Namespace, repository: Repository) -> int:
    listed = _ask_hub(options, repository)
    if options.json:
        print_json(listed)
        return EXIT_OK
    for file in (*listed.files, *listed.gguf_files):
        print(f"{file.size_bytes / 1e6:>12,.1f} MB  {plain_text(file.name)}")
    print(_sum(listed))
    if listed.problem:
        print(plain_text(listed.problem))
    return EXIT_OK


def _tell(options: argparse.Namespace, repository: Repository) -> None:
    """On stderr, before the first byte. Raises UnsupportedModelError for what makes no model."""
    try:
        listed = _ask_hub(options, repository)
    except RequestFailedError as error:
        if error.code != HubBusyError.code:
            raise
        print(f"bilin-engine: {error.message}", file=sys.stderr)  # the download waits for it
        return
    if listed.problem:
        raise UnsupportedModelError(plain_text(listed.problem))
    print(_sum(listed), file=sys.stderr)


def _ask_hub(options: argparse.Namespace, repository: Repository) -> RepositoryListed:
    with options.open_session(options) as session:
        return session.ask(
            lambda i: ListRepository(id=i, repository=repository, file=options.file),
            RepositoryListed,
        )


def _sum(listed: RepositoryListed) -> str:
    total = sum(file.size_bytes for file in listed.files)
    return (
        f"{len(listed.files)} files, {total / 1e9:,.2f} GB, from {', '.join(listed.hosts)}\n"
        f"licence 许可证: {plain_text(listed.licence) or 'the hub does not say 未注明'}"
    )


def _line(entry: CatalogEntry) -> str:
    if not entry.is_runnable:
        verdict = f"not runnable here 暂不支持 ({entry.family})"
    elif entry.fit == "fits":
        verdict = f"fits 放得下: {entry.needed_bytes / 2**30:.1f} GiB at {entry.context} tokens"
    elif entry.fit == "short":
        verdict = (
            f"does not fit 放不下: {entry.short_bytes / 2**30:.1f} GiB more needed on "
            f"{entry.short_device}"
        )
    else:
        verdict = "its size is told by the hub 大小以模型库为准"
    size = f"{entry.download_bytes / 1e9:.1f} GB" if entry.download_bytes else ""
    where = ", ".join(f"{name}" for name in dict.fromkeys(entry.repositories.values()))
    return f"{entry.name:<24}{size:>9}  {entry.licence:<12}{verdict}\n    {where}"
