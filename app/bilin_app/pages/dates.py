"""Moments as people read them, in the language of the window. Times: seconds since the epoch."""

from datetime import date, datetime, timedelta
from datetime import time as datetime_time

from PySide6.QtCore import QCoreApplication, QDate, QDateTime, QLocale

_FORM = QLocale.FormatType.ShortFormat


def day_of(at: float) -> date:
    """The day here."""
    return date.fromtimestamp(at)


def start_of(day: date, days: int = 0) -> float:
    """When a day begins here, or the one that many days later."""
    return datetime.combine(day + timedelta(days), datetime_time()).timestamp()


def date_time(at: float) -> str:
    """As "28/11/2026 14:05", in the order of the language."""
    return QLocale().toString(QDateTime.fromSecsSinceEpoch(round(at)), _FORM)


def day(at: float) -> str:
    """As "2026/11/28"."""
    return QLocale().toString(QDateTime.fromSecsSinceEpoch(round(at)).date(), _FORM)


def short_date(at: float) -> str:
    """Today the time, else the day; the year only where it is another one."""
    moment = QDateTime.fromSecsSinceEpoch(round(at))
    locale, today = QLocale(), QDate.currentDate()
    if moment.date() == today:
        return locale.toString(moment.time(), _FORM)
    if moment.date().year() == today.year():
        form = QCoreApplication.translate("Dates", "MMM d", "a day, as QLocale reads it")
        return locale.toString(moment.date(), form)
    return locale.toString(moment.date(), _FORM)


def month(at: float) -> str:
    """As "November" or "11月"; the year only where it is another one."""
    moment = QDateTime.fromSecsSinceEpoch(round(at)).date()
    form = QCoreApplication.translate("Dates", "MMMM yyyy", "a month, as QLocale reads it")
    if moment.year() == QDate.currentDate().year():
        form = QCoreApplication.translate("Dates", "MMMM", "a month, as QLocale reads it")
    return QLocale().toString(moment, form)
