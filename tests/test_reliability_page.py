"""What docs/reliability.md says is tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs/reliability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "name"), sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE))))
def test_each_test_of_the_table_exists(file: str, name: str) -> None:
    assert f"\ndef {name}(" in (HERE / file).read_text(encoding="utf-8")


def test_every_kind_of_fault_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+)\. [^|]+ \| `[\w/]+\.py::\w+`", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 21)]
