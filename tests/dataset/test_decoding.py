import threading
from dataclasses import replace

from pd.dataset import decoding
from pd.dataset.decode import decode
from pd.dataset.decoding import Good, decoded_rows
from pd.dataset.readers.folder import folder
from pd.dataset.readers.source import BadRow


def test_results_come_in_the_order_of_the_rows(people, settings, monkeypatch):
    """Even when the first image takes longest."""
    later = threading.Event()

    def slow_first(data, options):
        if not later.is_set() and data == first:
            assert later.wait(10)
        else:
            later.set()
        return decode(data, options)

    root = people(n=20, each=2)
    first = (root / "p0" / "0.png").read_bytes()
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 4)
    rows = [replace(row, decode=slow_first) for row in folder(root).rows()]
    rows.insert(3, BadRow("x.png", None, "no identity"))
    names = [item.row.name if isinstance(item, Good) else item.name for item in decoded_rows(rows, settings())]
    assert names == [row.name for row in rows]


def test_rows_are_drawn_a_few_at_a_time(people, settings, monkeypatch):
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 2)
    drawn = []

    def watched():
        for row in folder(people(n=20, each=2)).rows():
            drawn.append(row)
            yield row

    stream = decoded_rows(watched(), settings())
    next(stream)
    assert len(drawn) == 5
    stream.close()
