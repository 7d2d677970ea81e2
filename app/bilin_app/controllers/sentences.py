"""What a person reads when something went wrong: one sentence, in the language of the window."""

from __future__ import annotations

import errno
import re
import signal
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, QLocale

from bilin_app.controllers.engine_sentences import engine_sentence

if TYPE_CHECKING:
    from pathlib import Path

    from bilin_app.engine_client.process import EngineEnd
    from bilin_app.storage.database import OpenReport
    from bilin_app.storage.errors import StorageProblem
    from bilin_app.storage.settings import LoadedSettings

translate = QCoreApplication.translate

_SYSTEM_ERROR = re.compile(r"\[Errno (\d+)\] (.*?)(?:: '.*)?")
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


def _told(reason: str) -> str:
    """Why the system, or a reader of files, refused; in the window's language where it is known."""
    system = _SYSTEM_ERROR.fullmatch(reason)
    if system is None:
        return engine_sentence(reason)
    known = {
        errno.ENOENT: translate("Sentences", "it is not there"),
        errno.EACCES: translate("Sentences", "the system does not allow it"),
        errno.EPERM: translate("Sentences", "the system does not allow it"),
        errno.EISDIR: translate("Sentences", "it is a folder"),
        errno.ENOSPC: translate("Sentences", "the disk is full"),
        errno.EDQUOT: translate("Sentences", "the disk quota is used up"),
        errno.EROFS: translate("Sentences", "the disk can only be read"),
        errno.EIO: translate("Sentences", "the disk reports an error"),
        errno.ETIMEDOUT: translate("Sentences", "its disk does not answer"),
        errno.EBUSY: translate("Sentences", "another program is using it"),
        errno.ENAMETOOLONG: translate("Sentences", "its name is too long"),
    }
    return known.get(int(system[1]), system[2])


def engine_ended(end: EngineEnd) -> str:
    """Why the engine is not there any more."""
    match end.kind:
        case "crashed" if end.code == signal.SIGKILL:
            return translate(
                "Sentences",
                "The engine was killed from outside; when memory runs out, the system does that.",
            )
        case "crashed" if end.code in _CRASHES:
            name = signal.Signals(end.code).name
            return translate("Sentences", "The engine crashed ({signal}).").format(signal=name)
        case "crashed":
            text = translate("Sentences", "The engine was ended from outside (signal {number}).")
            return text.format(number=end.code)
        case "exited":
            text = translate("Sentences", "The engine ended by itself (exit code {code}).")
            return text.format(code=end.code)
        case "hung":
            return translate("Sentences", "The engine stopped responding and was ended.")
        case "bad_frame":
            return translate(
                "Sentences", "The engine sent something that is no message, and was ended."
            )
        case "no_hello":
            return translate("Sentences", "The engine started but did not answer, and was ended.")
        case "refused":
            text = translate("Sentences", "The engine and the window do not fit together: {reason}")
            return text.format(reason=end.message)
        case "not_started":
            text = translate("Sentences", "The engine could not be started: {reason}")
            return text.format(reason=end.message)
        case "stopped":
            return translate("Sentences", "The engine was stopped.")


def request_failed(code: str, message: str) -> str:
    """The engine's sentence in the window's language, or introduced in it where it is English."""
    told = engine_sentence(message)
    if told != message and code != "hub_unreachable":
        return told
    known = {
        "hub_unreachable": translate(
            "Sentences",
            "{message}. Another source, or a mirror under Advanced, may be reachable.",
        ),
        "out_of_memory": translate("Sentences", "{message}", "out of memory"),
        "context_overflow": translate("Sentences", "{message}", "the text does not fit"),
        "model_broken": translate("Sentences", "{message}", "a model folder is damaged"),
        "model_not_found": translate("Sentences", "{message}", "there is no such model"),
        "unsupported_model": translate("Sentences", "{message}", "a model of an unknown kind"),
        "not_loaded": translate("Sentences", "{message}", "no model is loaded"),
        "worker_died": translate("Sentences", "{message}", "a part of the engine ended"),
    }
    other = translate("Sentences", "{message}", "any other error of the engine")
    return known.get(code, other).format(message=told)


def engine_restarted(reason: str) -> str:
    """The engine ended while it had nothing to do, and was started again."""
    return translate("Sentences", "{reason} It was started again.").format(reason=reason)


def restart_limit(reason: str, count: int) -> str:
    """The engine keeps ending; it is not started again by itself."""
    text = translate(
        "Sentences", "{reason} It ended {count} times in a row and is not started again by itself."
    )
    return text.format(reason=reason, count=count)


def no_usable_model() -> str:
    """The library holds nothing that can be loaded."""
    return translate("Sentences", "There is no model that can be loaded.")


def model_gone(model_id: str) -> str:
    """The model of last time cannot be loaded; the first one that can is."""
    text = translate("Sentences", "The model {model} cannot be used now; another one is loaded.")
    return text.format(model=model_id)


def app_was_closed() -> str:
    """Why an answer of an earlier run ends early."""
    return translate("Sentences", "Bilin was closed while this was being written.")


def not_while_running() -> str:
    """Something that has to wait for the running answer."""
    return translate("Sentences", "An answer is being written; stop it first.")


def fill_dropped() -> str:
    """A blank was deleted while the model filled it."""
    return translate("Sentences", "The blank was deleted while it was filled; the fill is dropped.")


def nothing_to_inspect() -> str:
    """The prompt of a fill was asked for without a blank or a model."""
    return translate("Sentences", "Choose a blank, and wait until a model is loaded.")


def not_while_filling() -> str:
    """Only one fill runs at a time."""
    return translate("Sentences", "A blank is being filled; stop it first.")


def file_written(path: Path) -> str:
    """The document is in a file of the person's."""
    return translate("Sentences", "Saved as {file}").format(file=path.name)


def file_refused(path: Path, reason: str) -> str:
    """A file could not be read or written."""
    text = translate("Sentences", "{file} cannot be used: {reason}")
    return text.format(file=path.name, reason=_told(reason))


def revision_reason(reason: str) -> str:
    """Why an earlier state of a document was kept."""
    match reason:
        case "opened":
            return translate("Sentences", "as it was opened")
        case "filled":
            return translate("Sentences", "before all blanks were filled")
        case "restored":
            return translate("Sentences", "before an earlier version was restored")
        case _:
            return translate("Sentences", "while writing")


def storage_refused(problem: StorageProblem, path: Path) -> str:
    """Why something was not kept. What was typed is still in the window."""
    folder = path.parent
    match problem:
        case "full":
            text = translate(
                "Sentences", "The disk is full: nothing can be saved in {folder}. Free some space."
            )
        case "read_only":
            text = translate("Sentences", "{folder} is read-only: nothing can be saved there.")
        case "damaged":
            text = translate(
                "Sentences",
                "The database is damaged. Close Bilin and open it again: it then carries over all"
                " that can be read.",
            )
        case "busy":
            text = translate(
                "Sentences", "Another program holds the database in {folder}; try again."
            )
        case "newer" | "unusable":
            text = translate("Sentences", "Nothing can be saved in {folder}.")
        case "failed":
            text = translate(
                "Sentences", "A fault in Bilin: this could not be done. Its log tells more."
            )
    return text.format(folder=folder)


def opened(report: OpenReport) -> str:
    """What to tell after the database was opened; "" for nothing."""
    if report.problem is None:
        return ""
    if report.problem == "damaged" and report.kept_as is not None:
        text = translate(
            "Sentences",
            "The database was damaged. {messages} messages in {conversations} conversations could"
            " be read and are here; the damaged file is kept as {file}.",
        )
        return text.format(
            messages=report.num_messages,
            conversations=report.num_conversations,
            file=report.kept_as,
        )
    if report.problem == "newer":
        text = translate(
            "Sentences",
            "The conversations in {folder} were written by a later version of Bilin and stay as"
            " they are.",
        ).format(folder=report.path.parent)
    else:
        text = storage_refused(report.problem, report.path)
    return text + " " + translate(
        "Sentences", "Until that is mended, what you write lasts only until Bilin is closed."
    )  # fmt: skip


def settings_loaded(loaded: LoadedSettings, path: Path) -> list[str]:
    """What of the settings file was not taken."""
    if loaded.unreadable:
        text = translate(
            "Sentences", "{file} cannot be read ({reason}); the defaults are used until you save."
        )
        return [text.format(file=path, reason=loaded.unreadable)]
    text = translate(
        "Sentences", "{key} = {value} in {file} is not possible ({allowed}); {used} is used."
    )
    return [
        text.format(
            key=bad.key, value=bad.value, file=path.name, allowed=bad.allowed, used=repr(bad.used)
        )
        for bad in loaded.bad_values
    ]


def conversation_model_gone(model_id: str) -> str:
    """The model that was chosen for a conversation cannot answer in it."""
    text = translate(
        "Sentences",
        "The model {model} of this conversation cannot be used now; the loaded one answers.",
    )
    return text.format(model=model_id)


def pasted_name(number: int) -> str:
    """The name of a long text that was pasted."""
    return translate("Sentences", "pasted text {number}").format(number=number)


def attachment_no_file(name: str) -> str:
    """A folder, a device, or nothing there."""
    return translate("Sentences", "{name} is not a file; attach text or code files.").format(
        name=name
    )


def attachment_too_large(name: str, size_bytes: int, most_bytes: int) -> str:
    """A file that no message can hold."""
    text = translate("Sentences", "{name} is {size} MB; a file may have {most} MB at most.")
    locale, mega = QLocale(), 1024 * 1024
    size = locale.toString(size_bytes / mega, "f", 1)
    return text.format(name=name, size=size, most=locale.toString(round(most_bytes / mega)))


def attachment_binary(name: str) -> str:
    """A picture, a program, an archive."""
    return translate(
        "Sentences", "{name} is not text; only text and code files can be attached."
    ).format(name=name)


def attachment_empty(name: str) -> str:
    """A file without a word in it."""
    return translate("Sentences", "{name} is empty; there is nothing to attach.").format(name=name)


def attachment_unreadable(name: str, reason: str) -> str:
    """The system refuses to read it."""
    return translate("Sentences", "{name} cannot be read: {reason}").format(
        name=name, reason=_told(reason)
    )


def too_many_attachments(most: int, most_characters: int) -> str:
    """A message holds no more."""
    text = translate(
        "Sentences",
        "A message holds {most} attachments of {characters} characters in all; this one is"
        " left out.",
    )
    return text.format(most=most, characters=QLocale().toString(most_characters))


def data_folder_gone(chosen: Path, used: Path) -> str:
    """The data folder a person chose is not there."""
    text = translate(
        "Sentences",
        "{chosen} is not there; until the next start {used} is used, and {chosen} stays as it is.",
    )
    return text.format(chosen=chosen, used=used)


def data_moved(new: Path, kept: Path | None) -> str:
    """The data folder is another one now; kept: the old one, if it still holds a copy."""
    if kept is None:
        return translate("Sentences", "Your data are in {new} now.").format(new=new)
    text = translate(
        "Sentences",
        "Your data are in {new} now. {old} still has them too; delete it when you like.",
    )
    return text.format(new=new, old=kept)


def data_not_moved(old: Path, reason: str) -> str:
    """The data folder could not be moved."""
    text = translate("Sentences", "Your data could not be moved and stay in {old}: {reason}")
    return text.format(old=old, reason=_told(reason))


def menu_entry_refused(reason: str) -> str:
    """The applications menu could not be changed."""
    return translate("Sentences", "The applications menu could not be changed: {reason}").format(
        reason=_told(reason)
    )


def report_copied() -> str:
    """The report is on the clipboard."""
    return translate("Sentences", "The report is on the clipboard. Read it before you send it.")


def person_name() -> str:
    """The name over a person's messages in a file."""
    return translate("Sentences", "You")


def answer_name() -> str:
    """The name over answers in a file."""
    return translate("Sentences", "Answer")


def exported(path: Path) -> str:
    """A conversation was written to a file."""
    return translate("Sentences", "Exported to {path}").format(path=path)


def not_exported(path: Path, reason: str) -> str:
    """A conversation could not be written to a file."""
    text = translate("Sentences", "{path} could not be written: {reason}")
    return text.format(path=path, reason=_told(reason))


def conversation_gone() -> str:
    """A conversation was deleted before it could be written to a file."""
    return translate("Sentences", "the conversation was deleted")


def imported(num_conversations: int) -> str:
    """Conversations were taken from a file."""
    return translate("Sentences", "Conversations imported: {number}").format(
        number=num_conversations
    )


def not_imported(path: Path, reason: str) -> str:
    """A file held no conversation that could be taken."""
    if not reason:
        return translate("Sentences", "{name} holds no conversation").format(name=path.name)
    text = translate("Sentences", "{name} could not be imported: {reason}")
    return text.format(name=path.name, reason=_told(reason))
