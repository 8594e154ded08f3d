"""Fills docs/benchmarks.md with the tables of the last saved run: what stands between `<!-- a -->` and `<!-- /a -->`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import figure

DOCUMENT = Path("docs/benchmarks.md")
ABOUT = "about"
MISSED = "missed"
Record = dict[str, Any]


def fill(saved: Path, document: Path = DOCUMENT) -> Path:
    """Put each saved benchmark's tables, the machine and what missed its limit into their places; other text stays.

    Raises ValueError when the document has no place for one of them.
    """
    records = [json.loads(line) for line in saved.read_text().splitlines()]
    letters = sorted({record["benchmark"] for record in records})
    text = document.read_text()
    for letter in letters:
        mine = [record for record in records if record["benchmark"] == letter]
        text = _put(text, letter, "\n\n".join([_measured(mine), _compared(mine)]))
    text = _put(text, ABOUT, _about(records))
    text = _put(text, MISSED, _missed(records))
    document.write_text(text)
    return document


def _put(text: str, place: str, content: str) -> str:
    between = re.compile(rf"(<!-- {place} -->\n).*?(<!-- /{place} -->)", re.DOTALL)
    if not between.search(text):
        raise ValueError(f"{DOCUMENT}: expected a place <!-- {place} --> … <!-- /{place} -->, found none.")
    return between.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def _grid(head: list[str], rows: list[list[str]]) -> str:
    ruler = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def _measured(records: list[Record]) -> str:
    table = next(record["table"] for record in records if "table" in record)
    return _grid(table["head"], [[figure(cell) for cell in row] for row in table["rows"]])


def _compared(records: list[Record]) -> str:
    lines = [record for record in records if "limit" in record]
    head = ["comparison", "ours", "peer", "ratio", "wanted"]
    return _grid(
        head, [[_plain(one), *map(figure, (one["ours"], one["peer"], one["ratio"])), _wanted(one)] for one in lines]
    )


def _plain(line: Record) -> str:
    return str(line["name"]).removesuffix(" (at most)")


def _at_most(line: Record) -> bool:
    return str(line["name"]).endswith(" (at most)")


def _wanted(line: Record) -> str:
    return f"{'<=' if _at_most(line) else '>='} {line['limit']:g}{'' if _good(line) else ', **missed**'}"


def _good(line: Record) -> bool:
    return bool(line["ratio"] <= line["limit"] if _at_most(line) else line["ratio"] >= line["limit"])


def _about(records: list[Record]) -> str:
    """One sentence per distinct machine, versions and day."""
    told: dict[str, list[str]] = {}
    for record in records:
        if ABOUT in record:
            told.setdefault(json.dumps(record[ABOUT]), []).append(record["benchmark"])
    return "\n".join(f"- ({', '.join(letters)}) {_sentence(json.loads(about))}" for about, letters in told.items())


def _sentence(about: Record) -> str:
    rest = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    sizes = f"{about['rows']:,} rows, {about['rounds']} round{'' if about['rounds'] == 1 else 's'}"
    return f"{about['date']}: {about['machine']}; {rest}; {sizes}; load before it began {about['load']:.1f}."


def _missed(records: list[Record]) -> str:
    lines = [record for record in records if "limit" in record and not _good(record)]
    told = [
        f"- ({one['benchmark']}) {_plain(one)}: {figure(one['ratio'])}, wanted {_wanted(one).split(',')[0]}"
        for one in lines
    ]
    return "\n".join(told) or "Nothing."
