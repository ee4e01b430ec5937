"""Lines from chunks, also where a log has no line feeds at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sources.formats.lines import MAX_LINE_BYTES, LongLine, read_lines, split_objects

NAMES = st.text(min_size=1, max_size=5).filter(lambda name: name[0] not in ",}]:" and not name[0].isspace())
OBJECTS = st.lists(
    st.dictionaries(NAMES, st.text(st.sampled_from('}{":\\ ,ab'), max_size=12), min_size=1),
    min_size=1,
    max_size=6,
)


@given(rows=OBJECTS, spaces=st.sampled_from(["", " ", "\t "]))
def test_objects_without_a_delimiter_are_told_apart(rows: list[dict[str, str]], spaces: str) -> None:
    glued = spaces.join(map(json.dumps, rows)).encode()
    assert [json.loads(each) for each in split_objects(glued)] == rows


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"a": 1}',
        b"no json",
        b'{"a": "}{"}',
        b'{"a": "}{\\"b\\": 1}"}',
        b'{"a": {"b": 1}}',
        b"}{",
    ],
)
def test_one_object_or_none_stays_whole(line: bytes) -> None:
    assert split_objects(line) == [line]


@given(rows=OBJECTS, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_lines_do_not_depend_on_the_chunks(rows: list[dict[str, str]], cuts: list[int]) -> None:
    whole = "\n".join(map(json.dumps, rows)).encode()
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(whole[start : start + cut])
        start += cut
    assert [*read_lines([*chunks, whole[start:]])] == [*read_lines([whole])] == whole.split(b"\n")


def test_a_log_without_line_feeds_is_cut_between_its_objects() -> None:
    """It is longer than any line may be, and no object of it is lost."""
    rows = [{"id": number, "text": "}{" * 500} for number in range(20_000)]
    glued = b"".join(json.dumps(row).encode() for row in rows)
    assert len(glued) > MAX_LINE_BYTES
    lines = list(read_lines(glued[at : at + 2**18] for at in range(0, len(glued), 2**18)))
    assert not any(isinstance(line, LongLine) for line in lines)
    found = [json.loads(each) for line in lines for each in split_objects(bytes(line))]  # type: ignore[arg-type]
    assert found == rows
