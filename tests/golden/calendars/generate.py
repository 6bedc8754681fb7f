"""Writes the golden file of the sessions of XNYS next to itself.

    pip install exchange_calendars==4.13.2
    python tests/golden/calendars/generate.py

A line `closed` names the weekdays of a year without a session. Another line holds for its day and those after it, up to
the next such line: a session's date, and when it opens and closes in UTC.
"""

import itertools
import pathlib

import exchange_calendars
import pandas as pd

FIRST, LAST = "1990-01-01", "2035-12-31"

calendar = exchange_calendars.get_calendar("XNYS", start=FIRST, end=LAST)
sessions = calendar.schedule

lines, hours = [], None
for row in sessions.itertuples():
    if hours != (hours := f"{row.open:%H:%M} {row.close:%H:%M}"):
        lines.append(f"{row.Index:%Y-%m-%d} {hours}")
closed = pd.bdate_range(FIRST, LAST).difference(sessions.index)
for _, days in itertools.groupby(closed, key=lambda day: day.year):
    lines.append("closed " + " ".join(f"{day:%Y-%m-%d}" for day in days))

(pathlib.Path(__file__).parent / "xnys.txt").write_text("\n".join(lines) + "\n")
