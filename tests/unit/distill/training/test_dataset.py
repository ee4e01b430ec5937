import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.training.archived import ArchivedRow
from distill.training.dataset import (
    DatasetEmptyError,
    DatasetOverlapError,
    DatasetRowError,
    DatasetUnreadableError,
    LabelledSet,
    chosen,
    read_labelled,
    split_archive,
    text_hash,
    training_set,
)
from distill.training.fields import LabelledFields
from monitor.archive.redaction import Redactor
from monitor.storage.zstandard import zstd

NAMES = ("faq", "returns")
GOOD = b'{"text": "where is it?", "label": "faq"}\n'


def labelled(*texts: str, path: str = "train.jsonl") -> LabelledSet:
    return LabelledSet(
        path=Path(path),
        sha256="",
        texts=texts,
        labels=np.arange(len(texts)) % 2,
        lines=tuple(range(1, len(texts) + 1)),
    )


def rows(*texts: str) -> list[ArchivedRow]:
    return [ArchivedRow(text) for text in texts]


def written(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def lines(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_rows_are_read_in_order_with_the_index_of_their_label(tmp_path: Path) -> None:
    content = GOOD + b"\n" + '{"text": "zurück", "label": "returns", "source": "x"}'.encode()
    path = written(tmp_path, content)
    rows = read_labelled(path, NAMES)
    assert rows.texts == ("where is it?", "zurück")
    assert rows.labels.tolist() == [0, 1]
    assert rows.lines == (1, 3)
    assert rows.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl"])
def test_gzip_is_known_by_its_first_bytes_and_not_by_the_name(
    tmp_path: Path, name: str, prefix: bytes
) -> None:
    path = written(tmp_path, gzip.compress(prefix + GOOD), name)
    assert read_labelled(path, NAMES).texts == ("where is it?",)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstandard"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_by_the_names_of_its_columns(
    tmp_path: Path, pack: Callable[[bytes], bytes], delimiter: str
) -> None:
    header, row = (
        delimiter.join(("id", "utterance", "intent")),
        delimiter.join(("7", '"a, b\n""c"""', "returns")),
    )
    path = written(tmp_path, pack(f"{header}\r\n{row}\r\n".encode()), "rows.csv")
    rows = read_labelled(path, NAMES, LabelledFields(text="utterance", label="intent"))
    assert rows.texts == ('a, b\n"c"',)
    assert rows.labels.tolist() == [1]
    assert rows.lines == (2,)


def test_json_lines_are_read_by_the_names_of_their_fields(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"utterance": "hi", "intent": "faq", "text": 7, "label": "x"}\n')
    fields = LabelledFields(text="utterance", label="intent")
    assert read_labelled(path, NAMES, fields).texts == ("hi",)


def test_csv_without_a_column_names_the_columns_and_the_options(tmp_path: Path) -> None:
    path = written(tmp_path, b"utterance,label\nhi,faq\n", "rows.csv")
    with pytest.raises(DatasetUnreadableError, match=r"no column 'text'; .*--text-field.* utterance, label"):
        read_labelled(path, NAMES)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"hi,", "line 2: field 'label': empty"),
        (b"hi", "line 2: field 'label': expected a string, not a missing or null value"),
        (b"\xff,faq", "line 2: invalid UTF-8"),
        (b'"hi,faq', "line 2: invalid CSV"),
    ],
)
def test_a_bad_row_of_csv_is_named_as_well(tmp_path: Path, row: bytes, problem: str) -> None:
    with pytest.raises(DatasetRowError, match=problem):
        read_labelled(written(tmp_path, b"text,label\n" + row + b"\n", "rows.csv"), NAMES)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"{not json", "line 3: no JSON object"),
        (b'{"text": "\xff", "label": "faq"}', "line 3: invalid UTF-8"),
        (b'["a text", "faq"]', "line 3: no JSON object"),
        (b'{"label": "faq"}', "line 3: field 'text': expected a string, not a missing or null value"),
        (b'{"text": 7, "label": "faq"}', "line 3: field 'text': expected a string, not a int"),
        (b'{"text": " \\t", "label": "faq"}', "line 3: field 'text': empty"),
        (b'{"text": "hi"}', "line 3: field 'label': expected a string, not a missing or null value"),
        (b'{"text": "hi", "label": 1}', "line 3: field 'label': expected a string, not a int"),
        (b'{"text": "hi", "label": "fap"}', "line 3: field 'label': 'fap' is not one of the models' labels"),
        (
            b'{"text": "hi", "label": "FAQ "}',
            "line 3: field 'label': 'FAQ ' is not one of the models' labels; labels are compared letter by",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path: Path, bad: bytes, problem: str) -> None:
    path = written(tmp_path, GOOD + GOOD + bad + b"\n" + GOOD)
    with pytest.raises(DatasetRowError) as caught:
        read_labelled(path, NAMES)
    assert str(caught.value).startswith(f"{path}, {problem}")
    assert "\n" not in str(caught.value)


def test_an_unknown_label_comes_with_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"text": "hi", "label": "fap"}')
    with pytest.raises(DatasetRowError, match=r"\(faq, returns\)"):
        read_labelled(path, NAMES)


@pytest.mark.parametrize("content", [gzip.compress(GOOD * 100, mtime=0)[:-6], b"\x1f\x8bnonsense"])
def test_a_broken_gzip_is_named(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DatasetUnreadableError, match=str(path)):
        read_labelled(path, NAMES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadableError, match=r"nowhere.jsonl cannot be read: No such file"):
        read_labelled(tmp_path / "nowhere.jsonl", NAMES)


def test_a_file_without_rows_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetEmptyError):
        read_labelled(written(tmp_path, b"\n \n"), NAMES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where  is\tit?", "where is it?"),
        ("  hi\n", "hi"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\u00a0b", "a b"),
    ],
)
def test_texts_that_differ_in_case_space_or_composition_are_the_same(one: str, other: str) -> None:
    assert text_hash(one) == text_hash(other)


@pytest.mark.parametrize(("one", "other"), [("hi", "hi!"), ("a b", "ab"), ("cafe", "café")])
def test_other_differences_count(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


@given(texts=st.lists(st.text(max_size=5)), seed=st.integers(0, 2**32 - 1))
def test_the_split_keeps_every_request_and_parts_the_texts_whatever_the_order(
    texts: list[str], seed: int
) -> None:
    split = split_archive(texts)
    assert sorted(split.training + split.held_out) == sorted(texts)
    assert not {text_hash(text) for text in split.training} & {text_hash(text) for text in split.held_out}
    shuffled = [texts[number] for number in np.random.default_rng(seed).permutation(len(texts))]
    assert sorted(split_archive(shuffled).held_out) == sorted(split.held_out)


def test_about_the_wanted_share_of_the_texts_is_held_out() -> None:
    texts = [f"request {number}" for number in range(10_000)]
    assert 0.28 < len(split_archive(texts).held_out) / 10_000 < 0.32
    assert split_archive(texts, 0.0).held_out == ()
    assert split_archive(texts, 1.0).training == ()


def test_archived_rows_come_last_and_have_no_label() -> None:
    data = training_set(labelled("a", "b"), rows("c", "c", "d"), labelled("t"))
    assert data.texts == ("a", "b", "c", "c", "d")
    assert data.labelled.tolist() == [True, True, False, False, False]
    assert data.labels.tolist() == [0, 1, 0, 0, 0]
    assert data.n_fenced == 0


def test_archived_requests_of_the_test_set_are_left_out_and_counted() -> None:
    data = training_set(labelled("a"), rows("T", "c", " t "), labelled("t"))
    assert data.texts == ("a", "c")
    assert data.n_fenced == 2


def test_an_archived_request_is_known_by_what_was_kept_of_its_text() -> None:
    test = labelled("mail ann@example.org", "t")
    assert training_set(labelled("a"), rows("mail [email]", "c"), test, redact=Redactor()).texts == ("a", "c")


def test_without_an_archive_the_labelled_rows_are_all() -> None:
    data = training_set(labelled("a", "b"), [], labelled("t"))
    assert data.texts == ("a", "b")
    assert data.labelled.all()


def test_a_test_set_that_overlaps_the_train_set_is_refused_with_the_count_and_the_first_lines() -> None:
    train = labelled("w", "B", "x", "C ", "b")
    test = labelled("a", "c", "c", "b", path="test.jsonl")
    with pytest.raises(DatasetOverlapError) as caught:
        training_set(train, [], test)
    assert caught.value.fields["n"] == 2
    assert "line 2 of the test set and line 4 of the train set" in str(caught.value)


def test_the_chosen_rows_are_those_of_the_smallest_hashes_in_the_file_s_order(tmp_path: Path) -> None:
    """So the same rows whatever the order in the file; and all of them where there are no more."""
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"request {number}", "label": NAMES[number % 2]} for number in range(40)]

    def write(order: list[dict[str, str]]) -> LabelledSet:
        path.write_bytes(lines(order))
        return read_labelled(path, NAMES)

    every = write(rows)
    few = chosen(every, 10)
    assert sorted(few.texts, key=text_hash) == sorted(every.texts, key=text_hash)[:10]
    assert [every.texts.index(text) for text in few.texts] == [line - 1 for line in few.lines]
    assert list(few.lines) == sorted(few.lines)
    assert few.labels.tolist() == [every.labels[line - 1] for line in few.lines]
    assert set(chosen(write(rows[::-1]), 10).texts) == set(few.texts)
    assert chosen(every, 41).texts == every.texts
