"""Numbers and days are written as the language in force writes them.

Chinese and English write numbers alike, so a third language shows what does not go through it.
"""

from dataclasses import replace
from datetime import datetime

import pytest
from PySide6.QtCore import QLocale
from PySide6.QtWidgets import QLabel

from bilin_app import tour_models
from bilin_app.controllers.model_views import PlacementChoice, TrashView
from bilin_app.pages import dates
from bilin_app.pages.models import words
from bilin_app.pages.models.trash import TrashDialog
from bilin_app.pages.models.view import ModelsView
from bilin_app.theme.theme import Look, start_theme

pytestmark = pytest.mark.gui
GERMAN = QLocale(QLocale.Language.German, QLocale.Country.Germany)


@pytest.fixture
def german(qapp):
    start_theme(qapp, Look("light", "en"))
    before = QLocale()
    QLocale.setDefault(GERMAN)
    yield
    QLocale.setDefault(before)


def shown(widget):
    return [label.text() for label in widget.findChildren(QLabel) if label.isVisible()]


@pytest.mark.parametrize(
    ("text", "english", "german_text"),
    [
        (lambda: words.disk_size(67_200_000_000), "67.2 GB", "67,2 GB"),
        (lambda: words.disk_size(26_400_000), "26 MB", "26 MB"),
        (lambda: words.disk_size(1), "1 kB", "1 kB"),
        (lambda: words.disk_size(0), "0 kB", "0 kB"),
        (
            lambda: words.memory(20 * words.GIB, 24 * words.GIB),
            "20.0 / 24.0 GiB",
            "20,0 / 24,0 GiB",
        ),
        (lambda: words.parameters(128_700_000_000), "128.7B", "128,7B"),
        (lambda: words.parameters(0), "—", "—"),
        (lambda: words.rate(2_310e6), "2,310 MB/s", "2.310 MB/s"),
        (lambda: words.rate(1.44e6), "1.4 MB/s", "1,4 MB/s"),
        (lambda: words.rate(320e3), "320 kB/s", "320 kB/s"),
        (lambda: words.rate(12), "1 kB/s", "1 kB/s"),
        (lambda: words.tokens_per_s(1234.4), "1,234", "1.234"),
        (lambda: words.tokens_per_s(38.26), "38.3", "38,3"),
        (lambda: words.tokens_per_s(0.042), "0.042", "0,042"),
        (lambda: words.seconds(0.02), "0.02", "0,02"),
        (lambda: words.seconds(0.61), "0.6", "0,6"),
        (lambda: words.whole(2048), "2,048", "2.048"),
    ],
)
def test_a_number_is_written_as_the_language_does(text, english, german_text):
    before = QLocale()
    for locale, expected in ((QLocale("en_US"), english), (GERMAN, german_text)):
        QLocale.setDefault(locale)
        try:
            assert text() == expected
        finally:
            QLocale.setDefault(before)


@pytest.mark.usefixtures("german")
def test_the_models_page_writes_all_its_numbers_so(qtbot):
    view = ModelsView(None)  # pyright: ignore[reportArgumentType] - a window of its own here
    qtbot.addWidget(view)
    rows = [
        replace(row, measured_tok_s=1234.0, measured_at=datetime(2025, 3, 9, 12).timestamp())
        for row in tour_models.rows("en")
    ]
    view.show_models(rows, "glm-130b", "")
    row = next(row for row in rows if row.id == "glm-130b")
    view.detail.show_row(row)
    view.detail.placement.show_model(row, PlacementChoice(mode="tensor_parallel"))
    view.detail.placement.show_placement(tour_models.short_placement())
    running, *others = tour_models.jobs("en")
    slow = replace(running, rate_bytes_s=2_310e6, eta_s=9_000.0)
    view.show_jobs([slow, *others])
    view.resize(1220, 820)
    view.show()
    texts = shown(view)
    assert "needs 1.312 MiB more" in texts
    assert any("2.310 MB/s   2,5 h left" in text for text in texts)
    assert any("measured 1.234 tok/s on 09.03.25" in text for text in texts)
    english_point = [text for text in texts if "GiB" in text and "." in text.replace("1.312", "")]
    assert not english_point


@pytest.mark.usefixtures("german")
def test_the_trash_tells_days_as_lists_of_conversations_do(qtbot):
    at = datetime(2025, 3, 9, 12).timestamp()
    dialog = TrashDialog(None, (TrashView("x", "GLM", 67_200_000_000, at),))  # type: ignore[arg-type]
    qtbot.addWidget(dialog)
    dialog.show()
    assert f"67,2 GB   {dates.short_date(at)}" in shown(dialog)
    assert dates.short_date(at) == "09.03.25"


@pytest.mark.parametrize(
    ("language", "expected"),
    [("en", ["November 2024", "March"]), ("zh", ["2024年11月", "3月"])],
)
def test_a_month_is_written_as_the_language_does(qapp, language, expected):
    start_theme(qapp, Look("light", language))
    at = datetime(2024, 11, 9, 12).timestamp()
    now = datetime.now().replace(month=3, day=9).timestamp()
    assert [dates.month(at), dates.month(now)] == expected
    start_theme(qapp, Look("light", "en"))
