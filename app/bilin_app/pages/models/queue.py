"""The work queue: one line for each piece of work, the running one first."""

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QScrollArea, QVBoxLayout, QWidget
from typing_extensions import override

from bilin_app.controllers.model_views import JobView
from bilin_app.pages.controls import ElidedLabel, IconButton, TextButton, label
from bilin_app.pages.models import words

LINE_HEIGHT = 52
REASON_HEIGHT = 24
MAX_LINES = 3
TITLE_WIDTH = 300


class _Line(QWidget):
    """One job."""

    acted = Signal(str, str)  # job, action
    report_requested = Signal(str)  # its text
    discard_requested = Signal(object)  # JobView

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._job = JobView("", "verify", "", "waiting")
        self._kind = label(self)
        self._title = ElidedLabel(self, Qt.TextElideMode.ElideMiddle)
        self._title.setMaximumWidth(TITLE_WIDTH)
        self._bar = QProgressBar(self)
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._facts = label(self, "muted")
        self._reason = ElidedLabel(self)
        self._reason.setProperty("role", "danger")
        self._first = IconButton("arrow-line-up", self)
        self._main = TextButton("", self)
        self._cancel = TextButton("", self)
        self._first.clicked.connect(lambda: self.acted.emit(self._job.id, "first"))
        self._main.clicked.connect(self._on_main)
        self._cancel.clicked.connect(self._on_end)
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addWidget(self._kind)
        row.addWidget(self._title)
        row.addWidget(self._bar, 1)
        row.addStretch()
        row.addWidget(self._facts)
        row.addWidget(self._first)
        row.addWidget(self._main)
        row.addWidget(self._cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 0, 24, 0)
        column.setSpacing(0)
        column.addLayout(row, 1)
        column.addWidget(self._reason)
        self._reason.setFixedHeight(REASON_HEIGHT)
        self._reason.setContentsMargins(0, 0, 0, 8)

    def show_job(self, job: JobView) -> None:
        """Shows a job's state."""
        self._job = job
        self._show()

    def _show(self) -> None:
        job = self._job
        kinds = {
            "convert": self.tr("Convert"),
            "verify": self.tr("Verify"),
            "download": self.tr("Download"),
            "import": self.tr("Import"),
            "move": self.tr("Move models"),
            "self_test": self.tr("Self-test"),
        }
        self._kind.setText(kinds[job.kind])
        self._title.set_full_text(job.title)
        has_bar = not job.reason and job.state in ("running", "paused")
        self._bar.setVisible(has_bar)
        self._bar.setValue(round(job.fraction * 1000))
        self._bar.setAccessibleName(f"{kinds[job.kind]} {job.title}")
        self._reason.setVisible(bool(job.reason))
        self.setFixedHeight(LINE_HEIGHT + (REASON_HEIGHT if job.reason else 0))
        self._reason.set_full_text(job.reason)
        self._facts.setText(self._fact_words())
        self._first.setVisible(job.state == "waiting")
        self._first.set_texts("", self.tr("Do this next: {0}").format(job.title))
        actions = {
            "pause": self.tr("Pause"),
            "resume": self.tr("Resume"),
            "retry": self.tr("Try again"),
            "report": self.tr("Report"),
            "": "",
        }
        action = self._main_action()
        self._main.setVisible(bool(action))
        self._main.set_texts(actions[action])
        self._main.setAccessibleName(f"{actions[action]}: {job.title}")
        discards = self.tr("Deletes what was downloaded or written so far")
        ends = {
            "cancel": (self.tr("Cancel"), ""),
            "clear": (self.tr("Clear"), ""),
            "discard": (self.tr("Discard …"), discards),
        }
        self._cancel.set_texts(*ends[self._end_action()])
        self._cancel.setAccessibleName(f"{self._cancel.text()}: {job.title}")

    def _fact_words(self) -> str:
        job = self._job
        match job.state:
            case "waiting":
                return self.tr("waiting")
            case "done":
                return self.tr("done")
            case "failed":
                return ""
            case "paused":
                return self.tr("paused at {0} %").format(round(job.fraction * 100))
            case "running" if job.stage == "wait":
                return self.tr("waiting for the hub")
            case "running":
                parts = [self._stage_words(), f"{round(job.fraction * 100)} %"]
                if job.rate_bytes_s and job.kind != "self_test":
                    parts.append(words.rate(job.rate_bytes_s))
                if job.eta_s is not None:
                    parts.append(self._time_left(job.eta_s))
                return "   ".join(part for part in parts if part)

    def _stage_words(self) -> str:
        job = self._job
        if job.num_shards > 1:
            return self.tr("shard {0} of {1}").format(job.shard, job.num_shards)
        stages = {
            "calibrate": self.tr("measuring what matters"),
            "hash": self.tr("checksums"),
            "verify": self.tr("checking values"),
        }
        return stages.get(job.stage, "")

    def _time_left(self, seconds: float) -> str:
        if seconds < 90:
            return self.tr("{0} s left").format(round(seconds))
        if seconds < 5400:
            return self.tr("{0} min left").format(round(seconds / 60))
        return self.tr("{0} h left").format(words.real(seconds / 3600, 1))

    def _on_main(self) -> None:
        action = self._main_action()
        if action == "report":
            self.report_requested.emit(self._job.report)
        else:
            self.acted.emit(self._job.id, action)

    def _main_action(self) -> str:
        if self._job.report:
            return "report"
        by_state = {"running": "pause", "paused": "resume", "failed": "retry"}
        return by_state.get(self._job.state, "")

    def _on_end(self) -> None:
        action = self._end_action()
        if action == "discard":
            self.discard_requested.emit(self._job)
        else:
            self.acted.emit(self._job.id, action)

    def _end_action(self) -> str:
        """What a job wrote goes with its line; one that waits has written if it began before."""
        job = self._job
        has_begun = job.state in ("paused", "failed") or (job.state == "waiting" and job.fraction)
        if has_begun and job.kind not in ("verify", "self_test"):
            return "discard"
        return "clear" if job.state in ("done", "failed") else "cancel"

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self._show()
        super().changeEvent(event)


class QueueStrip(QFrame):
    """All jobs, three on show at a time; hidden while there are none."""

    job_acted = Signal(str, str)  # job, action
    report_requested = Signal(str)
    discard_requested = Signal(object)  # JobView: one that stands, with what it did so far

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("queue")
        self._lines: list[_Line] = []
        inner = QWidget(self)
        self._column = QVBoxLayout(inner)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addStretch()
        scroll = QScrollArea(self)
        scroll.setObjectName("modelScroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 1, 0, 0)
        outer.addWidget(scroll)
        self.show_jobs(())

    def show_jobs(self, jobs: Sequence[JobView]) -> None:
        """Shows the queue."""
        while len(self._lines) < len(jobs):
            line = _Line(self)
            line.acted.connect(self.job_acted)
            line.report_requested.connect(self.report_requested)
            line.discard_requested.connect(self.discard_requested)
            self._column.insertWidget(len(self._lines), line)
            self._lines.append(line)
        for index, line in enumerate(self._lines):
            line.setVisible(index < len(jobs))
            if index < len(jobs):
                line.show_job(jobs[index])
        self.setVisible(bool(jobs))
        shown = self._lines[: min(len(jobs), MAX_LINES)]
        self.setFixedHeight(sum(line.height() for line in shown) + 3)
