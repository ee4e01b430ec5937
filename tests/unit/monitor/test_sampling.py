"""Bottom-k sampling: the same requests whatever the order, the shards or the retries."""

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.sampling import BottomK, SampleMismatchError, SampleSizeError, sample

IDS = st.lists(st.text(max_size=3), max_size=60)
SIZES = st.integers(0, 12)
#: (id, payload) with few ids, so that ids come twice with different payloads
RECORDS = st.lists(st.tuples(st.integers(0, 20).map(str), st.integers(0, 9)), max_size=80)


def drawn(records: list[tuple[str, int]], k: int) -> BottomK[tuple[str, int]]:
    bottom = BottomK[tuple[str, int]](k, "key", tie_break=lambda record: record)
    for request_id, payload in records:
        bottom.offer(request_id, (request_id, payload))
    return bottom


@given(IDS, SIZES)
def test_the_sample_is_the_k_smallest_keyed_hashes(ids: list[str], k: int) -> None:
    """It equals sorting all distinct ids by blake2b (16 bytes), cut after k."""
    by_hash = sorted(set(ids), key=lambda i: blake2b(i.encode(), key=b"key", digest_size=16).digest())
    assert [ids[index] for index in sample(ids, k, "key")] == by_hash[:k]


@given(IDS, SIZES, st.randoms(use_true_random=False))
def test_the_order_of_the_log_does_not_matter(ids: list[str], k: int, shuffler: object) -> None:
    shuffled = list(ids)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis's own Random
    assert [ids[i] for i in sample(ids, k, "key")] == [shuffled[i] for i in sample(shuffled, k, "key")]


@given(IDS, SIZES)
def test_a_retry_gives_the_same_sample(ids: list[str], k: int) -> None:
    assert sample(ids, k, "key").tolist() == sample(ids, k, "key").tolist()


def test_an_id_that_comes_twice_counts_once_at_its_first_index() -> None:
    assert sorted(sample(["b", "a", "b", "a", "c"], 10, "key")) == [0, 1, 4]


def test_another_key_draws_another_sample() -> None:
    ids = [f"r-{i}" for i in range(1000)]
    one, other = sample(ids, 100, "key"), sample(ids, 100, "another")
    assert len(set(one) & set(other)) < 40


def test_a_key_is_text_or_its_utf8_bytes() -> None:
    ids = [f"r-{i}" for i in range(50)]
    assert sample(ids, 5, "schlüssel").tolist() == sample(ids, 5, "schlüssel".encode()).tolist()


def test_a_key_longer_than_the_hash_takes_is_used_whole() -> None:
    """Two keys that differ only after 64 bytes draw different samples."""
    ids = [f"r-{i}" for i in range(1000)]
    assert sample(ids, 9, "k" * 100).tolist() != sample(ids, 9, "k" * 99 + "j").tolist()


def test_any_json_string_can_be_an_id() -> None:
    """Even a lone surrogate, which JSON can spell and UTF-8 cannot."""
    assert len(sample(["\ud800", "", "\x00", "ü"], 9, "key")) == 4


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(SampleSizeError, match="-1"):
        sample(["a"], -1, "key")


@given(RECORDS, SIZES, st.randoms(use_true_random=False))
def test_a_stream_in_any_order_gives_the_same_items(
    records: list[tuple[str, int]], k: int, shuffler: object
) -> None:
    """Also the payload of an id that comes with several: the tie-break decides, not the order."""
    shuffled = list(records)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis's own Random
    assert drawn(records, k).draw().items == drawn(shuffled, k).draw().items


@given(RECORDS, SIZES)
def test_the_stream_draws_what_sample_draws(records: list[tuple[str, int]], k: int) -> None:
    """And of an id's payloads it keeps the smallest."""
    ids = [request_id for request_id, _ in records]
    expected = [
        (ids[index], min(payload for other, payload in records if other == ids[index]))
        for index in sample(ids, k, "key")
    ]
    assert list(drawn(records, k).draw().items) == expected


@given(st.lists(RECORDS, min_size=1, max_size=4), SIZES)
def test_merged_shards_equal_the_whole(shards: list[list[tuple[str, int]]], k: int) -> None:
    """Items and the count of distinct ids, however the records were spread."""
    whole = drawn([record for shard in shards for record in shard], k)
    merged = drawn([], k)
    for shard in shards:
        merged.merge(drawn(shard, k))
    assert merged.draw() == whole.draw()


@given(RECORDS, SIZES)
def test_looking_at_the_items_changes_nothing(records: list[tuple[str, int]], k: int) -> None:
    looked_at = drawn(records[:40], k)
    looked_at.draw()
    for record in records[40:]:
        looked_at.offer(record[0], record)
    assert looked_at.draw().items == drawn(records, k).draw().items


@given(RECORDS, SIZES)
def test_distinct_counts_ids_and_not_records(records: list[tuple[str, int]], k: int) -> None:
    """Of all ids that were offered, in the sample or not."""
    assert sum(drawn(records, k).draw().sizes) == len({request_id for request_id, _ in records})


def test_no_more_than_half_of_the_sample_more_is_held() -> None:
    """Memory for payloads depends on the sample's size and not on the traffic's."""
    bottom = BottomK[int](10, "key", tie_break=int)
    held = 0
    for number in range(5000):
        bottom.offer(f"r-{number}", number)
        held = max(held, len(bottom._kept))
    assert held == 15
    assert len(bottom.draw().items) == 10


@pytest.mark.parametrize(
    ("k", "key", "strata", "floor"),
    [(41, "key", 2, 3), (40, "another", 2, 3), (40, "key", 3, 3), (40, "key", 2, 4)],
)
def test_samples_of_another_size_design_or_key_do_not_merge(
    k: int, key: str, strata: int, floor: int
) -> None:
    other = BottomK[int](k, key, tie_break=int, strata=strata, floor=floor)
    with pytest.raises(SampleMismatchError, match="sizes, strata or hash keys"):
        BottomK[int](40, "key", tie_break=int, strata=2, floor=3).merge(other)


#: (id, payload, stratum): an id may come in several strata
STRATIFIED = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 2])), max_size=90
)
FLOORS = st.integers(0, 5)


def stratified(records: list[tuple[str, int, int]], k: int, floor: int) -> BottomK[tuple[str, int]]:
    bottom = BottomK[tuple[str, int]](k, "key", tie_break=lambda record: record, strata=3, floor=floor)
    for request_id, payload, stratum in records:
        bottom.offer(request_id, (request_id, payload), stratum)
    return bottom


def by_brute_force(records: list[tuple[str, int, int]], k: int, floor: int) -> tuple[list[str], list[int]]:
    """The ids and the sizes, from all of them in memory.

    An id that comes in several strata takes a place among the floor of each, and is of the first.
    """
    comes_in: dict[str, set[int]] = {}
    for request_id, _, stratum in records:
        comes_in.setdefault(request_id, set()).add(stratum)
    strata = {request_id: min(several) for request_id, several in comes_in.items()}
    by_hash = sorted(strata, key=lambda i: blake2b(i.encode(), key=b"key", digest_size=16).digest())
    floor = min(floor, k // 6)
    candidates = set(by_hash[:k])
    for s in range(3):
        candidates.update([each for each in by_hash if s in comes_in[each]][:floor])
    in_order = [each for each in by_hash if each in candidates]
    chosen = {i for s in range(3) for i in [each for each in in_order if strata[each] == s][:floor]}
    for each in in_order:
        if len(chosen) < k:
            chosen.add(each)
    return [each for each in by_hash if each in chosen], [list(strata.values()).count(s) for s in range(3)]


@given(STRATIFIED, st.integers(0, 30), FLOORS)
def test_a_stratified_sample_is_the_floors_and_the_smallest_of_the_rest(
    records: list[tuple[str, int, int]], k: int, floor: int
) -> None:
    """Also where an id comes in several strata: it is of the first, and counts once."""
    draw = stratified(records, k, floor).draw()
    ids, sizes = by_brute_force(records, k, floor)
    assert [request_id for request_id, _ in draw.items] == ids
    assert list(draw.sizes) == sizes
    for (request_id, _), stratum in zip(draw.items, draw.strata, strict=True):
        assert stratum == min(each[2] for each in records if each[0] == request_id)


@given(st.lists(STRATIFIED, min_size=1, max_size=4), st.integers(0, 30), FLOORS, st.randoms())
def test_stratified_shards_in_any_order_equal_the_whole(
    shards: list[list[tuple[str, int, int]]], k: int, floor: int, shuffler: object
) -> None:
    records = [record for shard in shards for record in shard]
    shuffler.shuffle(records)  # type: ignore[attr-defined] # hypothesis's own Random
    merged = stratified([], k, floor)
    for shard in shards:
        merged.merge(stratified(shard, k, floor))
    assert merged.draw() == stratified(records, k, floor).draw()


def test_a_rare_stratum_gets_its_floor_and_floors_get_half_of_the_sample_at_most() -> None:
    bottom = BottomK[int](100, "key", tie_break=int, strata=4, floor=1_000)
    for number in range(20_000):
        bottom.offer(f"r-{number}", number, stratum=1 if number % 500 == 0 else 0)
    draw = bottom.draw()
    assert len(draw.items) == 100
    assert draw.strata.count(1) == 12  # of 4 x 12 in half of 100
    assert draw.sizes == (19_960, 40, 0, 0)
