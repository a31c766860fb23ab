"""CSV, JSONL and JSON in every encoding and dialect: what can be read is read, what cannot is named by its line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files import encodings, tables
from models.files.encodings import FileError, detected
from models.files.rows import BadRow, Row
from models.files.tables import Format, read_table, rows_of

CHINESE = "source,id,text\nweibo,1,诺瓦手机充电起火，客服不理人\n"


def read(folder: Path, data: bytes, name: str = "a.csv", **options: Any) -> list[Row | BadRow]:
    (folder / name).write_bytes(data)
    return list(read_table(folder / name, **options))


def values(rows: list[Row | BadRow]) -> list[dict[str, Any]]:
    return [dict(row.values) for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "诺瓦手机充电起火，客服不理人"), ("utf-8-sig", "诺瓦手机充电起火"), ("utf-16",
        "诺瓦手机"), ("utf-32", "诺瓦手机"),
        ("utf-16-le", "诺瓦 phone on fire"), ("utf-16-be", "诺瓦 phone on fire"), ("gbk",
        "诺瓦手机充电起火，官方暂未回应"),
        ("gb18030", "诺瓦手机充电起火𠀀，官方暂未回应"), ("big5", "手機充電時起火，官方尚未回應"), ("cp932",
        "スマホが充電中に発火した"),
        ("euc_jp", "スマホが充電中に発火した"), ("cp949", "휴대폰 충전 중 화재가 발생했다"), ("cp1251",
        "Телефон загорелся во время зарядки"),
        ("cp1252", "Das Gerät ist größer und “schön”, naïve café"),
    ],
)  # fmt: skip
def test_an_encoding_is_found_out(tmp_path: Path, encoding: str, text: str) -> None:
    expected = [{"source": "x", "id": "1", "text": text.replace(",", "")}]
    data = f"source,id,text\nx,1,{expected[0]['text']}\n".encode(encoding)
    assert values(read(tmp_path, data)) == expected
    assert values(read(tmp_path, gzip.compress(data), "a.csv.gz")) == expected
    lines = (json.dumps(expected[0], ensure_ascii=False) + "\n").encode(encoding)
    assert values(read(tmp_path, lines, "a.jsonl")) == expected


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    data = "text\nTelefon się zapalił\n".encode("cp1250")
    assert values(read(tmp_path, data, encoding="windows-1250")) == [{"text": "Telefon się zapalił"}]
    with pytest.raises(FileError, match="encoding 'klingon' is unknown"):
        read(tmp_path, data, encoding="klingon")


def test_a_byte_that_the_encoding_does_not_have_costs_its_line(tmp_path: Path) -> None:
    data = CHINESE.encode() * 1 + b"weibo,2,\xff\xfe broken\nweibo,3,fine\n"
    rows = read(tmp_path, data)
    assert [v["id"] for v in values(rows)] == ["1", "3"]
    assert [(r.line, "bytes" in r.reason) for r in rows if isinstance(r, BadRow)] == [(3, True)]
    lines = '{"text": "很好"}\n'.encode() * 9 + b'{"text": "\xff"}\n{"text": "y"}\n'
    rows = read(tmp_path, lines, "a.jsonl")
    assert [type(r).__name__ for r in rows] == ["Row"] * 9 + ["BadRow", "Row"]


@given(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.text(min_size=1, max_size=40))
def test_what_carries_a_mark_or_is_utf_8_is_never_mistaken(encoding: str, text: str) -> None:
    head = text.replace("\x00", "").replace("\ufeff", "")
    assert codecs.lookup(detected(head.encode(encoding))).name.startswith(codecs.lookup(encoding).name[:6])


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"PK\x03\x04rest", "Excel workbook"), (b"\xd0\xcf\x11\xe0", "Excel"), (b"PAR1", "Parquet"), (b"%PDF-1.4",
        "PDF"),
        (b"BZh91AY", "bunzip2"), (b"\x1f\x8b\x08\x00garbage", "gzip compression is corrupt"),
        (gzip.compress(CHINESE.encode(), mtime=0)[:-12], "gzip compression is corrupt"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_with_the_way_out(tmp_path: Path, data: bytes, word: str) -> None:
    with pytest.raises(FileError, match=word):
        read(tmp_path, data)
    with pytest.raises(FileError, match="nowhere"):
        list(read_table(tmp_path / "nowhere"))


def test_a_bomb_of_one_line_ends_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 1 << 16)
    with pytest.raises(FileError, match="longer than 65536"):
        read(tmp_path, gzip.compress(b"x" * (1 << 24)), "a.jsonl.gz")
    monkeypatch.setattr(encodings, "MAX_UNPACKED", 1 << 16)
    with pytest.raises(FileError, match="unpacks to over"):
        read(tmp_path, gzip.compress(b"text\n" * (1 << 17)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["id", "text", "x y"], ["1", "a, b; c | d", "e"]])
    assert values(read(tmp_path, out.getvalue().encode())) == [{"id": "1", "text": "a, b; c | d", "x y": "e"}]
    assert values(read(tmp_path, out.getvalue().encode(), "noname")) == [{"id": "1", "text": "a, b; c | d", "x y": "e"}]
    assert values(read(tmp_path, b"sep=" + delimiter.encode() + b"\r\n" + out.getvalue().encode()))[0]["id"] == "1"


@pytest.mark.parametrize(
    ("text", "expected", "bad"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', [["2", "y"], ["3", "z"]], [2]),
        ('a,b\n1,"x\n2,y\n3,"z"\n4,w\n', [["2", "y"], ["3", "z"], ["4", "w"]], [2]),
        ('a,b\n1,"x\n2,"y\n3,z\n', [["3", "z"]], [2, 3]),
        ('a,b\n1,"two\nlines"\n2,y\n', [["1", "two\nlines"], ["2", "y"]], []),
        ('a,b\r\n1,"two\r\nlines, ""so"""\r\n', [["1", 'two\r\nlines, "so"']], []),
        ('a,b\n1,5" phone\n2,y\n', [["1", '5" phone'], ["2", "y"]], []),
        ('a,b\n1,"he said ""it burned"\n2,y\n', [["1", 'he said "it burned'], ["2", "y"]], []),
        ("a,b\n\n , \n1,x\n", [["1", "x"]], []),
        ("a,b\n1,x\x00y\n", [["1", "x\x00y"]], []),
        ("a,b\r1,x\r2,y\r", [["1", "x"], ["2", "y"]], []),
    ],
)  # fmt: skip
def test_a_quote_costs_no_more_than_its_line(text: str, expected: list[list[str]], bad: list[int]) -> None:
    rows = list(rows_of(io.StringIO(text, newline=""), "a.csv"))
    assert [list(v.values()) for v in values(rows)] == expected
    assert [r.line for r in rows if isinstance(r, BadRow)] == bad
    assert all(r.structural for r in rows if isinstance(r, BadRow))


def test_an_unclosed_quote_in_a_long_file_costs_one_row_and_little_time(tmp_path: Path) -> None:
    good = "".join(f"{n},text number {n} is here and it is fine\n" for n in range(20_000))
    started = time.perf_counter()
    rows = read(tmp_path, ('id,text\n0,"unclosed\n' + good).encode())
    assert len(values(rows)) == 20_000
    assert time.perf_counter() - started < 5


def test_columns_without_a_name_and_twice_the_same_name() -> None:
    rows = list(rows_of(io.StringIO("id,,text,text\n1,2,3,4\n1\n1,2,3,4,5,6\n1,2,3,4,,\n"), "a.csv"))
    assert values(rows)[0] == {"id": "1", "column 2": "2", "text": "3", "text (4)": "4"}
    assert values(rows)[1] == {"id": "1"}
    assert [r.surplus for r in rows if isinstance(r, Row)] == [(), (), ("5", "6"), ()]


OBJECTS = [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(OBJECTS), json.dumps(OBJECTS, indent=2), "\n\n" + json.dumps(OBJECTS), "\n".join(map(json.dumps, OBJECTS)),  # noqa: E501
        "\n".join(json.dumps(o, indent=1) for o in OBJECTS), json.dumps({"data": OBJECTS, "meta": {"next": 1}}),
        json.dumps({"meta": {}, "items": OBJECTS}, indent=1), json.dumps({"data": OBJECTS[:1]}) + "\n" + json.dumps({"data": OBJECTS[1:]}),  # noqa: E501
        json.dumps({"data": {"data": OBJECTS}}), "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]", json.dumps([OBJECTS[:1], OBJECTS[1:]]),  # noqa: E501
    ],
)  # fmt: skip
def test_json_in_all_its_layouts(text: str) -> None:
    for name in ("a.json", "a.jsonl", "-"):
        assert values(list(rows_of(io.StringIO(text), name))) == OBJECTS


def test_what_stands_before_an_error_of_an_array_counts() -> None:
    rows = list(rows_of(io.StringIO('[{"text": "a"},\n{"text": "b"},\n{"text": oops}]'), "a.json"))
    assert values(rows) == [{"text": "a"}, {"text": "b"}]
    assert isinstance(rows[-1], BadRow)
    assert (rows[-1].line, rows[-1].structural) == (3, True)


@pytest.mark.parametrize("line", ["{", "3", "oops", '{"a": ' + "[" * 100_000])
def test_a_bad_line_costs_itself(line: str) -> None:
    rows = list(rows_of(io.StringIO(f'{line}\n{{"text": "y"}}\n'), "a.jsonl"))
    assert values(rows) == [{"text": "y"}]
    assert isinstance(rows[0], BadRow)
    assert rows[0].line == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"id": 1, "text": "x"}{"id": 2, "text": "y"}\n', '{"id": 1, "text": "x"},\n{"id": 2, "text": "y"},\n',
        '\x1e{"id": 1, "text": "x"}\n\x1e{"id": 2, "text": "y"}\n', '{"id": 1, "text": "x"}, {"id": 2, "text": "y"}',
    ],
)  # fmt: skip
def test_several_objects_in_a_line(text: str) -> None:
    assert values(list(rows_of(io.StringIO(text), "a.jsonl"))) == OBJECTS


def test_what_stands_before_an_error_of_a_line_counts() -> None:
    one, bad, two = rows_of(io.StringIO('{"id": 1, "text": "x"} {"id": oops}\n{"id": 2, "text": "y"}\n'), "a.jsonl")
    assert values([one, two]) == OBJECTS
    assert isinstance(bad, BadRow)
    assert bad.line == 1


def test_a_tab_or_a_number_of_any_length_costs_no_line() -> None:
    text = '{"text": "a\tb", "likes": ' + "9" * 5000 + "}\n"
    assert values(list(rows_of(io.StringIO(text), "a.jsonl"))) == [{"text": "a\tb", "likes": "9" * 5000}]


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;"])
def test_excel_may_say_its_delimiter(said: str) -> None:
    assert values(list(rows_of(io.StringIO(f"{said}\r\nid;text\r\n1;a,b\r\n"), "a.csv"))) == [
        {"id": "1", "text": "a,b"}
    ]


CELLS = st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), min_size=1, max_size=8)


@given(CELLS, st.sampled_from(",;\t|"))
def test_what_a_csv_writer_writes_is_read(cells: list[list[str]], delimiter: str) -> None:
    clean = [[c.encode("utf-8", "ignore").decode() for c in row] for row in cells]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["first", "second", "third"], *clean])
    rows = list(rows_of(io.StringIO(out.getvalue(), newline=""), "a.csv"))
    kept = [row for row in clean if any(c.strip() for c in row)]
    assert [list(v.values()) for v in values(rows)] == kept


@pytest.mark.parametrize(
    "piece",
    ['"', '""', 'a,"b\n', '",\n', ",", "\n", "a\n", '{"a":', "[", '{"text":"x"}', '[{"text":"x"},', " ", '"\n"x'],
)
@pytest.mark.parametrize("form", [None, Format.csv, Format.json])
def test_the_work_is_linear(piece: str, form: Format | None) -> None:
    def seconds(size: int) -> float:
        text = "text,b\n" + piece * (size // len(piece))
        started = time.thread_time()
        list(rows_of(io.StringIO(text, newline=""), "a", form))
        return time.thread_time() - started

    assert seconds(200_000) < 8 * min(seconds(50_000), seconds(50_000)) + 1


def test_a_line_may_have_sixteen_million_characters() -> None:
    line = "x" * (16 * 2**20 - 1)
    assert [r.text for r in rows_of(io.StringIO(line), "a.jsonl") if isinstance(r, BadRow)] == [line]
    with pytest.raises(FileError, match=r"a.jsonl:2: the line is longer than 16777216"):
        list(rows_of(io.StringIO('{"text": "x"}\n' + line + "x"), "a.jsonl"))


def test_utf_16_without_a_mark_is_known_by_where_its_nuls_lie() -> None:
    latin = b"x\x00" * 21
    assert detected(latin + b"\x00x") == "utf-16-le"
    assert detected(latin[2:] + b"\x00x") != "utf-16-le", "a twentieth of them may lie elsewhere"
    assert detected(b"\x00x" * 4) == "utf-16-be"
    assert detected(b"x\x00") == "utf-8", "four bytes at least"
    assert detected(b"x\x00" + b"ab" * 5) == "utf-8", "a fifth of the bytes at least"


def test_where_an_error_ends_an_array_its_line_is_named() -> None:
    nested = list(rows_of(io.StringIO('[\n{"text": "a"},\n' + "[" * 100_000), "a.json"))
    assert values(nested) == [{"text": "a"}]
    assert isinstance(nested[-1], BadRow)
    assert (nested[-1].structural, "nested too deeply" in nested[-1].reason) == (True, True)


def test_a_row_keeps_the_line_that_it_was_written_in() -> None:
    lines = '{"id": 1}\n{"data": [{"id": 2}]}\n 3.50\n'
    assert [row.text for row in rows_of(io.StringIO(lines), "a.jsonl")] == ['{"id": 1}', "", " 3.50"]
    assert not any(row.structural for row in rows_of(io.StringIO(lines), "a.jsonl") if isinstance(row, BadRow))


def test_a_delimiter_follows_each_quoted_field_or_the_end() -> None:
    rows = list(rows_of(io.StringIO('a,b\n"x" ,"y" \n"two\nlines" more,z\n"x","last"\n'), "a.csv"))
    assert [list(v.values()) for v in values(rows)][0] == ["x ", "y "]
    assert [r.line for r in rows if isinstance(r, BadRow)] == [3]
    assert [list(v.values()) for v in values(rows)][-1] == ["x", "last"]


def test_an_error_within_an_array_is_named_by_its_line() -> None:
    rows = list(rows_of(io.StringIO('[{"id": 1},\noops,\n\n{"id": 2}\n]'), "a.json"))
    assert [row.line for row in rows] == [1, 2]


def test_what_follows_a_quoted_field_of_several_lines_at_the_end_of_a_file_is_no_delimiter() -> None:
    rows = list(rows_of(io.StringIO('a,b\n1,"two\nlines"z'), "a.csv"))
    assert [r.line for r in rows if isinstance(r, BadRow)] == [2]


def test_a_file_may_unpack_to_eight_gigabytes_and_one_value_have_a_quarter_of_one() -> None:
    assert (encodings.MAX_UNPACKED, encodings.MAX_WHOLE) == (8 * 2**30, 2**28)
